package check

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The tests here hold the probes to real servers of their kind, started on
// loopback with a configuration of their own. testdata/peers.txt names the
// Debian packages. A server that is not installed is a test not run, and with
// LVSCTL_PEERS=require a failure.

// peer is a folder for one server and the means to run it.
type peer struct {
	*testing.T
	dir  string
	cred *syscall.SysProcAttr
}

// newPeer finds the programs of a package.
func newPeer(t *testing.T, pkg string, programs ...string) *peer {
	t.Helper()
	for _, p := range programs {
		_, err := exec.LookPath(p)
		switch {
		case err == nil:
		case os.Getenv("LVSCTL_PEERS") == "require":
			t.Fatalf("%s is not installed: apt-get install %s", p, pkg)
		default:
			t.Skipf("%s is not installed: apt-get install %s", p, pkg)
		}
	}
	// Not t.TempDir: servers that give up root have to get in.
	dir, err := os.MkdirTemp("", "check-"+pkg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return &peer{T: t, dir: dir, cred: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}}
}

// as makes the programs run as this user, who gets the folder. Without root they
// run as we do.
func (p *peer) as(name string) {
	p.Helper()
	if os.Getuid() != 0 {
		return
	}
	u, err := user.Lookup(name)
	if err != nil {
		p.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	p.cred.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	if err := os.Chown(p.dir, uid, gid); err != nil {
		p.Fatal(err)
	}
}

// root skips where the server needs to be started by root.
func (p *peer) root() {
	p.Helper()
	if os.Getuid() != 0 {
		p.Skip("this server can only be started by root")
	}
}

// write puts a file into the folder, with @DIR@ replaced, and returns its path.
func (p *peer) write(name, text string) string {
	p.Helper()
	path := filepath.Join(p.dir, name)
	os.MkdirAll(filepath.Dir(path), 0o755)
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "@DIR@", p.dir)), 0o644); err != nil {
		p.Fatal(err)
	}
	return path
}

// cert writes a certificate for 127.0.0.1 and its key, and returns the file of
// the authority that signed it.
func (p *peer) cert() string {
	p.Helper()
	ca := newAuthority(p.T)
	c := ca.leaf(p.T, time.Time{}, "127.0.0.1")
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		p.Fatal(err)
	}
	p.write("cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})))
	path := p.write("key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
	os.Chmod(path, 0o600)
	if p.cred.Credential != nil {
		os.Chown(path, int(p.cred.Credential.Uid), int(p.cred.Credential.Gid))
	}
	return ca.file
}

// run runs a program to its end.
func (p *peer) run(stdin string, argv ...string) {
	p.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr, cmd.Dir, cmd.Stdin = p.cred, p.dir, strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		p.Fatalf("%v: %v\n%s", argv, err, out)
	}
}

// start runs a server until the test ends and waits until probe is well.
func (p *peer) start(probe Probe, argv ...string) {
	p.Helper()
	log, err := os.Create(filepath.Join(p.dir, "log"))
	if err != nil {
		p.Fatal(err)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr, cmd.Dir, cmd.Stdout, cmd.Stderr = p.cred, p.dir, log, log
	if err := cmd.Start(); err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		time.AfterFunc(5*time.Second, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
		cmd.Wait()
		log.Close()
		if p.Failed() {
			b, _ := os.ReadFile(log.Name())
			p.Logf("%s", b)
		}
	})
	for range 300 {
		if err = once(probe, time.Second); err == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	p.Fatalf("%s does not come up: %v", argv[0], err)
}

// port is a free one on loopback, for TCP and UDP.
func (p *peer) port() netip.AddrPort {
	p.Helper()
	for range 20 {
		a := nobody(p.T)
		if c, err := net.ListenPacket("udp", a.String()); err == nil {
			c.Close()
			return a
		}
	}
	p.Fatal("no free port")
	return netip.AddrPort{}
}

func TestRealHTTP(t *testing.T) {
	p := newPeer(t, "nginx-light", "nginx")
	ca := p.cert()
	plain, secure := p.port(), p.port()
	conf := p.write("nginx.conf", fmt.Sprintf(`daemon off; master_process off; pid @DIR@/pid; error_log stderr; events {}
http {
  access_log off; client_body_temp_path @DIR@/b; proxy_temp_path @DIR@/p; fastcgi_temp_path @DIR@/f; uwsgi_temp_path @DIR@/u; scgi_temp_path @DIR@/s;
  gzip on; gzip_min_length 1; gzip_types text/plain;
  server { listen %s; listen %s ssl; ssl_certificate @DIR@/cert.pem; ssl_certificate_key @DIR@/key.pem;
    location / { default_type text/plain; root @DIR@/www; }
    location /moved { return 301 /ok.html; }
    location /busy { return 503; }
    location /vhost { if ($host != www.lab) { return 404; } return 200 "vhost\n"; }
  }
}`, plain, secure))
	p.write("www/ok.html", "It works\n")
	p.start(Connect{Addr: plain}, "nginx", "-p", p.dir, "-e", "stderr", "-c", conf)
	for _, tt := range []struct {
		probe HTTP
		want  string
	}{
		{HTTP{Target: "ok.html", Receive: "^It works$"}, ""},
		{HTTP{Target: "/ok.html", Method: "HEAD"}, ""},
		{HTTP{Target: "/moved", Receive: "works"}, ""},
		{HTTP{Target: "/nothing"}, "HTTP 404 .* wanted 2xx"},
		{HTTP{Target: "/busy"}, "HTTP 503"},
		{HTTP{Target: "/vhost", Host: "www.lab", Receive: "vhost"}, ""},
		{HTTP{Target: "/vhost"}, "HTTP 404"},
		{HTTP{Target: "ok.html", Digest: "2d7baab9e7bb0ca2a5b1ed6c4b2e5ef6"}, "has digest"},
	} {
		for _, addr := range []netip.AddrPort{plain, secure} {
			tt.probe.Addr, tt.probe.Secure = addr, addr == secure
			tt.probe.TLS = TLS{Verify: VerifyChain, CAFile: ca}
			wantVerdict(t, once(tt.probe, 3*time.Second), tt.want)
		}
	}
	wantVerdict(t, once(HTTP{Addr: secure, Secure: true, TLS: TLS{Verify: VerifyChain}}, 3*time.Second), "authority")
	wantVerdict(t, once(HTTP{Addr: secure}, 3*time.Second), "HTTP 400")
	wantVerdict(t, once(HTTP{Addr: plain, Secure: true}, 3*time.Second), "does not speak TLS")

	t.Run("proxy", func(t *testing.T) {
		p := newPeer(t, "tinyproxy", "tinyproxy")
		proxy := p.port()
		conf := p.write("conf", fmt.Sprintf("Port %d\nListen 127.0.0.1\nTimeout 10\nAllow 127.0.0.1\nMaxClients 10\n", proxy.Port()))
		p.start(Connect{Addr: proxy}, "tinyproxy", "-d", "-c", conf)
		probe := HTTP{Addr: proxy, Proxy: true, Target: fmt.Sprintf("http://%s/ok.html", plain), Receive: "works"}
		wantVerdict(t, once(probe, 3*time.Second), "")
		probe.Target = fmt.Sprintf("http://%s/busy", plain)
		wantVerdict(t, once(probe, 3*time.Second), "HTTP 503")
		probe.Target = fmt.Sprintf("http://%s/", nobody(t))
		wantVerdict(t, once(probe, 3*time.Second), "HTTP 50.")
	})
}

func TestRealFTP(t *testing.T) {
	p := newPeer(t, "vsftpd", "vsftpd")
	p.root()
	addr := p.port()
	p.write("pub/welcome.msg", "welcome\n")
	os.Mkdir(filepath.Join(p.dir, "empty"), 0o755)
	conf := p.write("conf", fmt.Sprintf(`listen=YES
listen_address=127.0.0.1
listen_port=%d
background=NO
anonymous_enable=YES
ftp_username=ftp
anon_root=@DIR@/pub
secure_chroot_dir=@DIR@/empty
connect_from_port_20=NO
seccomp_sandbox=NO
pasv_address=192.0.2.1
`, addr.Port()))
	p.start(Connect{Addr: addr}, "vsftpd", conf)
	probe := FTP{Addr: addr, Login: "anonymous", Password: "a@b", File: "/welcome.msg", Receive: "^welcome$"}
	wantVerdict(t, once(probe, 5*time.Second), "")
	probe.File = "/nothing"
	wantVerdict(t, once(probe, 5*time.Second), "550")
	probe.File, probe.Receive = "/", ""
	wantVerdict(t, once(probe, 5*time.Second), "")
	probe.Login = "joe"
	wantVerdict(t, once(probe, 5*time.Second), "530")
}

func TestRealSMTP(t *testing.T) {
	p := newPeer(t, "exim4-daemon-light", "exim4")
	p.root()
	p.as("Debian-exim")
	p.cred.Credential = nil // it gives up root itself
	addr := p.port()
	conf := p.write("conf", fmt.Sprintf("primary_hostname = lab\nkeep_environment =\nspool_directory = @DIR@/spool\nlog_file_path = @DIR@/%%slog\n"+
		"pid_file_path = @DIR@/pid\nlocal_interfaces = 127.0.0.1\ndaemon_smtp_ports = %d\ntls_advertise_hosts =\nbegin acl\nbegin routers\nbegin transports\n", addr.Port()))
	p.start(SMTP{Addr: addr}, "exim4", "-C", conf, "-bdf")
	wantVerdict(t, once(SMTP{Addr: addr, Helo: "probe.lab"}, 3*time.Second), "")
	if b, err := os.ReadFile(filepath.Join(p.dir, "rejectlog")); err == nil {
		t.Errorf("the server complains: %s", b)
	}
	wantVerdict(t, once(POP{Addr: addr}, 3*time.Second), "greeting")
}

func TestRealMail(t *testing.T) {
	p := newPeer(t, "dovecot-imapd dovecot-pop3d", "dovecot")
	p.root()
	ca := p.cert()
	imap, imaps, pop, pops := p.port(), p.port(), p.port(), p.port()
	conf := p.write("conf", fmt.Sprintf(`base_dir = @DIR@/run
state_dir = @DIR@/state
log_path = /dev/stderr
protocols = imap pop3
listen = 127.0.0.1
ssl = yes
ssl_cert = <@DIR@/cert.pem
ssl_key = <@DIR@/key.pem
disable_plaintext_auth = no
auth_mechanisms = plain
auth_failure_delay = 0
mail_location = maildir:@DIR@/mail
first_valid_uid = 1
passdb {
  driver = passwd-file
  args = scheme=PLAIN @DIR@/users
}
userdb {
  driver = static
  args = uid=nobody gid=nogroup home=@DIR@/mail
}
service imap-login {
  inet_listener imap {
    port = %d
  }
  inet_listener imaps {
    port = %d
    ssl = yes
  }
}
service pop3-login {
  inet_listener pop3 {
    port = %d
  }
  inet_listener pop3s {
    port = %d
    ssl = yes
  }
}
`, imap.Port(), imaps.Port(), pop.Port(), pops.Port()))
	p.write("users", "joe:p\"w\\1:::::\n")
	os.Mkdir(filepath.Join(p.dir, "mail"), 0o777)
	os.Chmod(filepath.Join(p.dir, "mail"), 0o777)
	p.start(Connect{Addr: pops}, "dovecot", "-F", "-c", conf)
	trust := TLS{Verify: VerifyName, CAFile: ca}
	for _, pw := range []string{`p"w\1`, "wrong"} {
		for addr, secure := range map[netip.AddrPort]bool{imap: false, imaps: true} {
			want := map[bool]string{true: "", false: "NO"}[pw != "wrong"]
			wantVerdict(t, once(IMAP{Addr: addr, Secure: secure, TLS: trust, Login: "joe", Password: pw}, 8*time.Second), want)
			wantVerdict(t, once(IMAP{Addr: addr, Secure: secure, TLS: trust}, 3*time.Second), "")
		}
		for addr, secure := range map[netip.AddrPort]bool{pop: false, pops: true} {
			want := map[bool]string{true: "", false: "-ERR"}[pw != "wrong"]
			wantVerdict(t, once(POP{Addr: addr, Secure: secure, TLS: trust, Login: "joe", Password: pw}, 8*time.Second), want)
			wantVerdict(t, once(POP{Addr: addr, Secure: secure, TLS: trust}, 3*time.Second), "")
		}
	}
	wantVerdict(t, once(IMAP{Addr: imaps, Secure: true, TLS: TLS{Verify: VerifyName}}, 3*time.Second), "authority")
	wantVerdict(t, once(IMAP{Addr: imap, Secure: true, TLS: trust}, 3*time.Second), "does not speak TLS")
}

func TestRealLDAP(t *testing.T) {
	p := newPeer(t, "slapd", "slapd", "slapadd")
	ca := p.cert()
	plain, secure := p.port(), p.port()
	os.Mkdir(filepath.Join(p.dir, "db"), 0o755)
	conf := p.write("conf", `include /etc/ldap/schema/core.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile @DIR@/pid
TLSCertificateFile @DIR@/cert.pem
TLSCertificateKeyFile @DIR@/key.pem
database mdb
maxsize 10485760
suffix "dc=lab"
rootdn "cn=admin,dc=lab"
rootpw secret
directory @DIR@/db
`)
	p.run("dn: dc=lab\nobjectClass: dcObject\nobjectClass: organization\ndc: lab\no: lab\n", "slapadd", "-f", conf)
	p.start(Connect{Addr: secure}, "slapd", "-d", "0", "-f", conf, "-h", fmt.Sprintf("ldap://%s ldaps://%s", plain, secure))
	for addr, tls := range map[netip.AddrPort]bool{plain: false, secure: true} {
		for _, tt := range []struct {
			p    LDAP
			want string
		}{
			{LDAP{Base: "dc=lab"}, ""},
			{LDAP{Base: "dc=lab", Receive: "^dc=lab$"}, ""},
			{LDAP{Base: "dc=lab", Receive: "other"}, "does not hold"},
			{LDAP{Base: "dc=other"}, "refuses the search"},
			{LDAP{Base: ""}, ""}, // the root entry every server has
			{LDAP{Base: "dc=lab", Login: "cn=admin,dc=lab", Password: "secret"}, ""},
			{LDAP{Base: "dc=lab", Login: "cn=admin,dc=lab", Password: "wrong"}, "invalid credentials"},
		} {
			tt.p.Addr, tt.p.Secure = addr, tls
			wantVerdict(t, once(tt.p, 3*time.Second), tt.want)
		}
	}
	wantVerdict(t, once(LDAP{Addr: secure, Secure: true, TLS: TLS{Verify: VerifyName, CAFile: ca}, Base: "dc=lab"}, 3*time.Second), "")
}

func TestRealMySQL(t *testing.T) {
	p := newPeer(t, "mariadb-server", "mariadbd", "mariadb-install-db")
	if os.Getuid() == 0 {
		p.as("mysql")
	}
	addr := p.port()
	data := filepath.Join(p.dir, "data")
	p.run("", "mariadb-install-db", "--no-defaults", "--datadir="+data, "--auth-root-authentication-method=normal", "--skip-test-db")
	init := p.write("init.sql", "CREATE DATABASE d;\nCREATE TABLE d.one (a INT);\nCREATE TABLE d.none (a INT);\nINSERT INTO d.one VALUES (1);\nCREATE USER 'u'@'%' IDENTIFIED BY 'p';\nGRANT ALL ON d.* TO 'u'@'%';\n")
	ok := SQL{addr, "u", "p", "d", "SELECT * FROM one"}
	p.start(MySQL{ok}, "mariadbd", "--no-defaults", "--datadir="+data, "--bind-address=127.0.0.1",
		fmt.Sprintf("--port=%d", addr.Port()), "--socket="+p.dir+"/s", "--init-file="+init, "--innodb-buffer-pool-size=8M")
	for _, tt := range sqlCases(ok) {
		wantVerdict(t, once(MySQL{tt.p}, 3*time.Second), tt.want)
	}
	slow := ok
	slow.Query = "SELECT SLEEP(5)"
	wantVerdict(t, once(MySQL{slow}, 500*time.Millisecond), "within 0.5 s")
}

type sqlCase struct {
	p    SQL
	want string
}

func sqlCases(ok SQL) []sqlCase {
	with := func(f func(*SQL)) SQL { p := ok; f(&p); return p }
	return []sqlCase{
		{ok, ""},
		{with(func(p *SQL) { p.Query = "SELECT * FROM none" }), "no row"},
		{with(func(p *SQL) { p.Query = "SELECT * FROM nothing" }), "nothing"},
		{with(func(p *SQL) { p.Password = "wrong" }), "(?i)denied|authentication failed"},
		{with(func(p *SQL) { p.Database = "other" }), "other"},
		{with(func(p *SQL) { p.Query = "SELECT" }), "(?i)syntax|row"},
	}
}

func TestRealPgSQL(t *testing.T) {
	bin := "/usr/lib/postgresql/15/bin/"
	p := newPeer(t, "postgresql-15", bin+"postgres", bin+"initdb")
	p.as("postgres")
	p.cert()
	data := filepath.Join(p.dir, "data")
	p.run("", bin+"initdb", "-D", data, "-U", "u", "-A", "scram-sha-256", "--no-sync", "--pwfile="+p.write("pw", "p\n"))
	for _, ssl := range []string{"off", "on"} {
		t.Run("ssl "+ssl, func(t *testing.T) {
			p := &peer{T: t, dir: p.dir, cred: p.cred}
			addr := p.port()
			ok := SQL{addr, "u", "p", "postgres", "SELECT 1"}
			p.start(PgSQL{ok}, bin+"postgres", "-D", data, "-F", "-p", fmt.Sprint(addr.Port()), "-c", "listen_addresses=127.0.0.1",
				"-c", "unix_socket_directories="+p.dir, "-c", "ssl="+ssl, "-c", "ssl_cert_file="+p.dir+"/cert.pem", "-c", "ssl_key_file="+p.dir+"/key.pem")
			for _, q := range []string{"CREATE TABLE IF NOT EXISTS none (a int)"} {
				once(PgSQL{SQL{addr, "u", "p", "postgres", q}}, 3*time.Second)
			}
			for _, tt := range sqlCases(ok) {
				if tt.p.Query == "SELECT" {
					continue // in PostgreSQL that is a row without columns
				}
				wantVerdict(t, once(PgSQL{tt.p}, 3*time.Second), tt.want)
			}
			slow := ok
			slow.Query = "SELECT pg_sleep(5)"
			wantVerdict(t, once(PgSQL{slow}, 500*time.Millisecond), "within 0.5 s")
		})
	}
}

func TestRealDNS(t *testing.T) {
	p := newPeer(t, "dnsmasq-base", "dnsmasq")
	addr := p.port()
	p.start(DNS{Addr: addr, Name: "www.lab"}, "dnsmasq", "-k", "-p", fmt.Sprint(addr.Port()), "--listen-address=127.0.0.1", "--bind-interfaces",
		"--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--pid-file=", "--local=/lab/", "--user=", "--log-facility=-",
		"--host-record=www.lab,192.0.2.5,2001:db8::5", "--cname=alias.lab,www.lab", "--txt-record=txt.lab,hello")
	for _, tt := range []struct {
		p    DNS
		want string
	}{
		{DNS{Name: "www.lab", Receive: `192\.0\.2\.[56]`}, ""},
		{DNS{Name: "www.lab", Receive: `^2001:db8::5$`}, ""},
		{DNS{Name: "www.lab", Receive: `192\.0\.2\.9`}, "says www.lab. is 192.0.2.5"},
		{DNS{Name: "192.0.2.5", Receive: `^www\.lab$`}, ""},
		{DNS{Name: "2001:db8::5", Receive: `^www\.lab$`}, ""},
		{DNS{Name: "alias.lab", Receive: `^192`}, ""},
		{DNS{Name: "txt.lab", Type: "TXT", Receive: "hello"}, ""},
		{DNS{Name: "nobody.lab"}, "knows no address"},
		{DNS{Name: "www.example"}, "says Refused"},
	} {
		for _, tcp := range []bool{false, true} {
			tt.p.Addr, tt.p.TCP = addr, tcp
			wantVerdict(t, once(tt.p, 3*time.Second), tt.want)
		}
	}
}

func TestRealRADIUS(t *testing.T) {
	p := newPeer(t, "freeradius", "freeradius")
	addr := p.port()
	p.write("dictionary", "$INCLUDE /usr/share/freeradius/dictionary\n")
	p.write("radiusd.conf", fmt.Sprintf(`name = lab
libdir = /usr/lib/freeradius
run_dir = @DIR@
max_requests = 256
thread pool {
  start_servers = 1
  max_servers = 2
  min_spare_servers = 1
  max_spare_servers = 1
}
client lab {
  ipaddr = 127.0.0.1
  secret = sec
  require_message_authenticator = yes
}
modules {
  pap {
  }
}
server default {
  listen {
    type = auth
    ipaddr = 127.0.0.1
    port = %d
  }
  authorize {
    if (&User-Name == "joe") {
      update control {
        &Cleartext-Password := "pw"
      }
    }
    pap
  }
  authenticate {
    Auth-Type PAP {
      pap
    }
  }
}
`, addr.Port()))
	good := RADIUS{Addr: addr, Login: "joe", Password: "pw", Secret: "sec"}
	p.start(good, "freeradius", "-f", "-l", "stdout", "-d", p.dir, "-n", "radiusd")
	bad := good
	bad.Password = "wrong"
	wantVerdict(t, once(bad, 5*time.Second), "answers Access-Reject")
	bad = good
	bad.Secret = "other"
	wantVerdict(t, once(bad, time.Second), "no RADIUS answer")
	long := good
	long.Login = "someone"
	wantVerdict(t, once(long, 5*time.Second), "answers Access-Reject")
}

func TestRealSIP(t *testing.T) {
	p := newPeer(t, "kamailio", "kamailio")
	addr := p.port()
	conf := p.write("conf", fmt.Sprintf(`#!KAMAILIO
debug=0
log_stderror=yes
children=1
auto_aliases=no
listen=udp:%[1]s
listen=tcp:%[1]s
mpath="/usr/lib/x86_64-linux-gnu/kamailio/modules/:/usr/lib/kamailio/modules/"
loadmodule "pv.so"
loadmodule "sl.so"
request_route {
  if (method == "OPTIONS" && $rU == "down") { sl_send_reply("503", "Down"); exit; }
  sl_send_reply("200", "OK");
}
`, addr))
	p.start(SIP{Addr: addr, Login: "me@lab"}, "kamailio", "-DD", "-E", "-f", conf, "-Y", p.dir, "-m", "16", "-M", "4")
	for _, tcp := range []bool{false, true} {
		wantVerdict(t, once(SIP{Addr: addr, TCP: tcp, Login: "me@lab"}, 3*time.Second), "")
		wantVerdict(t, once(SIP{Addr: addr, TCP: tcp, Login: "down@lab"}, 3*time.Second), `SIP/2.0 503 Down`)
	}
}

// TestRealNNTP runs leafnode as inetd would, one process a connection, under a
// host name such as it wants to have.
func TestRealNNTP(t *testing.T) {
	p := newPeer(t, "leafnode", "leafnode")
	p.root()
	leafnode := func(host string) netip.AddrPort {
		return serve(t, func(c net.Conn) {
			f, err := c.(*net.TCPConn).File()
			if err != nil {
				return
			}
			defer f.Close()
			cmd := exec.Command("sh", "-c", "hostname "+host+" && exec leafnode")
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUTS}
			cmd.Stdin, cmd.Stdout = f, f
			cmd.Run()
		})
	}
	wantVerdict(t, once(NNTP{Addr: leafnode("news.lvs-probe.net")}, 5*time.Second), "")
	wantVerdict(t, once(NNTP{Addr: leafnode("nobody")}, 5*time.Second), `greeting .* "503 Leafnode.*wanted 2xx`)
}
