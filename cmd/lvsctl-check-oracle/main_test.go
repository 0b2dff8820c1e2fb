package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/ldirector/check"
)

// TestMain lets the test binary be the program.
func TestMain(m *testing.M) {
	if os.Getenv("BE_THE_PROGRAM") != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// Packets of the listener's protocol (TNS): length, type, body.
const (
	tnsAccept = 2
	tnsRefuse = 4
	tnsData   = 6
)

func packet(kind byte, body ...byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(8+len(body)))
	return append(append(b, 0, 0, kind, 0, 0, 0), body...)
}

// refuse is what a listener says that knows no such database.
func refuse(text string) []byte {
	return packet(tnsRefuse, append([]byte{34, 0, 0, byte(len(text))}, text...)...)
}

// accept takes the connection: version 314, 8 KiB at a time, no further services.
func accept() []byte {
	return packet(tnsAccept, 1, 58, 0, 0, 32, 0, 32, 0, 1, 0, 0, 0, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
}

func data(body ...byte) []byte { return packet(tnsData, append([]byte{0, 0}, body...)...) }

// protocol tells of the server: an old one, whose answers are short. Its character
// sets are 873 (UTF-8) and 2000 (UTF-16).
func protocol() []byte {
	b := append([]byte{1, 6, 0}, "a database\x00"...)
	b = append(b, 105, 3, 1, 0, 0)
	b = append(b, 0, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2000>>8, 2000&255)
	caps := make([]byte, 38)
	caps[7] = 2
	b = append(append(b, byte(len(caps))), caps...)
	return data(append(b, 7, 0, 0, 0, 0, 0, 0, 0)...)
}

// number is a number as most of the protocol has it: its length, its bytes.
func number(n int) []byte {
	if n == 0 {
		return []byte{0}
	}
	b := binary.BigEndian.AppendUint32(nil, uint32(n))
	b = bytes.TrimLeft(b, "\x00")
	return append([]byte{byte(len(b))}, b...)
}

// words is a text with its length, twice.
func words(s string) []byte {
	if s == "" {
		return []byte{0}
	}
	return append(append(number(len(s)), byte(len(s))), s...)
}

func property(key, value string, flag int) []byte {
	return slices.Concat(words(key), words(value), number(flag))
}

// end ends a call, with an error if there is a text.
func end(code int, text string) []byte {
	// Behind the code, all empty: errors of arrays, cursor, place, kind, flags,
	// warnings, the row's address, errors of the system, counters, lists.
	b := slices.Concat([]byte{4}, number(0), number(code), make([]byte, 24))
	if code != 0 {
		b = append(append(b, byte(len(text))), text...)
	}
	return b
}

func noLogin() []byte {
	return data(end(1017, "ORA-01017: invalid username/password; logon denied")...)
}

// loggedIn are the answers up to the end of a login. What the client proves of its
// password is not looked at.
func loggedIn() [][]byte {
	challenge := slices.Concat([]byte{8}, number(2),
		property("AUTH_SESSKEY", strings.Repeat("5A", 32), 0), property("AUTH_VFR_DATA", "00", 2361), end(0, ""))
	session := slices.Concat([]byte{8}, number(2),
		property("AUTH_SESSION_ID", "7", 0), property("AUTH_SERIAL_NUM", "9", 0),
		[]byte{23, 5}, number(1), []byte{0}, number(1), []byte{0}, property("AUTH_NLS_LXLAN", "AMERICAN", 0), number(0), end(0, ""))
	version := slices.Concat([]byte{8}, number(8), []byte{8}, []byte("Database"), number(11<<24|2<<20), []byte{9})
	noClock := data(end(942, "ORA-00942: table or view does not exist")...)
	return [][]byte{accept(), protocol(), data(2, 0), data(challenge...), data(session...), data(version...), noClock}
}

// rows answers a query with one column of numbers: n times the number 1.
func rows(n int) []byte {
	b := slices.Concat([]byte{16, 0}, number(22), number(1), []byte{0},
		[]byte{2, 0, 0}, number(0), number(22), make([]byte, 4), []byte{0, 0}, []byte{0, 1, 1}, words("1"), []byte{0, 0}, // a nullable NUMBER
		[]byte{0})
	for range n {
		b = slices.Concat(b, []byte{6, 0}, number(1), number(0), number(1), []byte{0, 0, 0}, []byte{7, 2, 0xc1, 2})
	}
	return data(slices.Concat(b, end(1403, "ORA-01403: no data found"))...)
}

// listener answers what it reads with the next part of its script, and then is
// silent, or gone.
func listener(t *testing.T, gone bool, script ...[]byte) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				b := make([]byte, 64<<10)
				for _, answer := range script {
					if _, err := conn.Read(b); err != nil {
						return
					}
					if _, err := conn.Write(answer); err != nil {
						return
					}
				}
				if !gone {
					_, _ = io.Copy(io.Discard, conn)
				}
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// program runs the program with a question.
func program(t *testing.T, question string) (string, int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "BE_THE_PROGRAM=1")
	cmd.Stdin = strings.NewReader(question)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func question(t *testing.T, addr netip.AddrPort, timeout time.Duration) (string, int) {
	t.Helper()
	q, err := json.Marshal(check.OracleQuestion{Addr: addr, Login: "scott", Password: "tiger", SID: "orcl", Query: "SELECT 1 FROM dual", Timeout: timeout.Milliseconds()})
	if err != nil {
		t.Fatal(err)
	}
	return program(t, string(q))
}

// What is wrong with a database is said in one line, with status 1: the server is
// down. Status 2 and above would say that it could not be asked.
func TestDatabasesThatAreNotWell(t *testing.T) {
	nobody := listener(t, true)
	for name, tt := range map[string]struct {
		addr netip.AddrPort
		want string
		wait time.Duration
	}{
		"closed at once":         {nobody, "no result of the query from", 0},
		"no such database":       {listener(t, true, refuse("(DESCRIPTION=(ERR=12505)(VSNNUM=0))")), "ORA-12505", 0},
		"silent listener":        {listener(t, false), "no answer from .* within 500ms", 500 * time.Millisecond},
		"accepts, then silent":   {listener(t, false, accept()), "no answer from .* within 500ms", 500 * time.Millisecond},
		"accepts, then gone":     {listener(t, true, accept()), "no result of the query from", 0},
		"another protocol":       {listener(t, true, []byte("HTTP/1.1 400 Bad Request\r\n\r\n")), "no result of the query from|no answer from", 2 * time.Second},
		"packet of no length":    {listener(t, true, make([]byte, 64)), "no result of the query from|no answer from", 2 * time.Second},
		"half an acceptance":     {listener(t, true, packet(tnsAccept, 1, 58)), "does not answer as an Oracle database does", 0},
		"login refused":          {listener(t, true, accept(), protocol(), data(2, 0), noLogin()), "ORA-01017", 0},
		"strange negotiation":    {listener(t, true, accept(), data(9, 9, 9)), "no result of the query from", 0},
		"negotiates, then gone":  {listener(t, true, accept(), protocol()), "no result of the query from", 0},
		"negotiates, then quiet": {listener(t, false, accept(), protocol()), "no answer from .* within 500ms", 500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			wait := tt.wait
			if wait == 0 {
				wait = 30 * time.Second
			}
			out, status := question(t, tt.addr, wait)
			if status != 1 || !regexp.MustCompile(tt.want).MatchString(out) || strings.Count(out, "\n") != 1 {
				t.Errorf("status %d, want 1 and %s:\n%s", status, tt.want, out)
			}
		})
	}
}

// A query that has a row, one that has none, and one that is refused.
func TestDatabases(t *testing.T) {
	for name, tt := range map[string]struct {
		answer []byte
		status int
		want   string
	}{
		"a row":   {rows(1), 0, ""},
		"rows":    {rows(3), 0, ""},
		"no row":  {rows(0), 1, "the query gives no row at"},
		"refused": {data(end(904, "ORA-00904: invalid identifier")...), 1, "ORA-00904"},
	} {
		t.Run(name, func(t *testing.T) {
			script := append(loggedIn(), tt.answer, data(end(0, "")...)) // and the goodbye
			out, status := question(t, listener(t, true, script...), 30*time.Second)
			if status != tt.status || !strings.Contains(out, tt.want) || tt.want == "" && out != "" {
				t.Errorf("status %d, want %d and %q:\n%s", status, tt.status, tt.want, out)
			}
		})
	}
}

func TestQuestionsThatAreNone(t *testing.T) {
	for _, q := range []string{"", "{", `{"addr":"10.0.0.1:1521"}`, `{"timeout":1000}`} {
		if out, status := program(t, q); status != 2 || !strings.Contains(out, "usage:") {
			t.Errorf("%q: status %d:\n%s", q, status, out)
		}
	}
}
