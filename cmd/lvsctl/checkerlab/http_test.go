package checkerlab

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/lvsctl/lvsctl/internal/lab"
)

// switchboard is a web server that answers well or badly, as it is told.
type switchboard struct{ bad atomic.Bool }

func (s *switchboard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	bad := s.bad.Load()
	answer := func(good, otherwise bool, text string) {
		if good == otherwise {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprint(w, text)
	}
	switch r.URL.Path {
	case "/status":
		answer(!bad, false, "status")
	case "/moved":
		status := http.StatusFound
		if bad {
			status = http.StatusOK
		}
		w.WriteHeader(status)
	case "/text":
		text := "all is well\n"
		if bad {
			text = "nothing is well\n"
		}
		fmt.Fprint(w, text)
	case "/host":
		answer(r.Host == "www.example.com" && !bad, false, r.Host)
	case "/proto":
		answer(r.Proto == "HTTP/1.1" && !bad, false, r.Proto)
	case "/old":
		answer(r.Proto == "HTTP/1.0" && r.Header.Get("Connection") == "" && !bad, false, r.Proto)
	case "/close":
		answer(r.Proto == "HTTP/1.0" && r.Header.Get("Connection") == "close" && !bad, false, r.Proto)
	case "/agent":
		answer(r.UserAgent() == "KeepAliveClient" && !bad, false, r.UserAgent())
	default:
		answer(!bad, false, "page")
	}
}

// webService is a virtual_server whose real server has one check.
func webService(port int, settings, check string) string {
	return fmt.Sprintf(`virtual_server 10.9.2.1 %d {
	delay_loop 0.5
	lvs_sched rr
	lvs_method NAT
	protocol TCP
	%s
	real_server 10.2.0.11 80 {
		%s
	}
}
`, port, settings, check)
}

// Whether a web server is well: each check has one service, named by its port, with
// one server that answers well, then badly, and well again.
func TestHTTP(t *testing.T) {
	lab.Long(t)
	d := newDuel(t)
	web := &switchboard{}
	d.handle("10.2.0.11:80", web)
	d.handle("[fd02::11]:80", web)
	secure := httptest.NewUnstartedServer(web)
	l, err := d.farm.TryListen("tcp", "10.2.0.11:443")
	if err != nil {
		t.Fatal(err)
	}
	secure.Listener = l
	secure.TLS = &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		if h.ServerName != "" && h.ServerName != "www.example.com" {
			return nil, errors.New("no such name here")
		}
		return nil, nil
	}}
	secure.StartTLS()
	defer secure.Close()

	checks := []string{
		"HTTP_GET { url { path /status } }",
		"HTTP_GET { url { path /status\nstatus_code 200 } }",
		"HTTP_GET { url { path /moved\nstatus_code 300-399 404 } }",
		"HTTP_GET { url { path /text\ndigest 2670f929ce8c93af815ba0ae8fd591ff } }",
		"HTTP_GET { url { path /text\nregex \"^all .* well$\"\nregex_options multiline } }",
		"HTTP_GET { url { path /text\nregex nothing\nregex_no_match } }",
		"HTTP_GET { url { path /host\nvirtualhost www.example.com } }",
		"HTTP_GET { virtualhost www.example.com\nurl { path /host } }",
		"HTTP_GET { http_protocol 1.1\nurl { path /proto } }",
		"HTTP_GET { http_protocol 1.0\nurl { path /old } }",
		"HTTP_GET { http_protocol 1.0C\nurl { path /close } }",
		"HTTP_GET { url { path /agent } }",
		"HTTP_GET { url { path /a }\nurl { path /status } }",
		"HTTP_GET { connect_ip fd02::11\nurl { path /status } }",
		"SSL_GET { connect_port 443\nurl { path /status } }",
		"SSL_GET { connect_port 443\nenable_sni\nurl { path /host\nvirtualhost www.example.com } }",
		"HTTP_GET { fwmark 3\nurl { path /status } }",
	}
	text := ""
	var up, down []string
	for i, c := range checks {
		port := 1000 + i
		text += webService(port, "retry 1\ndelay_before_retry 0.2\nwarmup 0", c)
		up = append(up, fmt.Sprintf("%d: 11=1", port))
		down = append(down, fmt.Sprintf("%d:", port))
	}
	text += webService(2000, "virtualhost www.example.com\nwarmup 0", "HTTP_GET { url { path /host } }")
	up, down = append(up, "2000: 11=1"), append(down, "2000:")
	text += webService(2001, "alpha\nwarmup 0", "HTTP_GET { url { path /host } }")
	up, down = append(up, "2001:"), append(down, "2001:")

	d.start(text)
	d.serves("start", up...)
	web.bad.Store(true)
	d.serves("bad answers", down...)
	web.bad.Store(false)
	d.serves("good answers", up...)
}
