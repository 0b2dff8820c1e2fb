package daemon

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

type drainRequest struct {
	Server  string `json:"server"`
	Timeout int    `json:"timeout"`
}

// echo is a handler as the program has them: it decodes, and answers.
func echo() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/echo", func(w http.ResponseWriter, r *http.Request) {
		var in drainRequest
		if err := Decode(r, &in); err != nil {
			Answer(w, http.StatusBadRequest, nil, err)
			return
		}
		Answer(w, http.StatusOK, in, nil)
	})
	mux.HandleFunc("GET /v1/hang", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	return mux
}

func TestControl(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "lb.sock")
	run(t, NewControl(path, echo()))
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o660 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if got := Holder(path); got != os.Getpid() {
		t.Errorf("process %d answers, it is %d", got, os.Getpid())
	}
	if got := Holder(path + ".not"); got != 0 {
		t.Errorf("process %d answers where nobody is", got)
	}
	c := NewClient(path)
	var out drainRequest
	if err := c.Call(t.Context(), "POST", "/v1/echo", drainRequest{"10.0.0.1", 5}, &out); err != nil || out != (drainRequest{"10.0.0.1", 5}) {
		t.Errorf("%+v, %v", out, err)
	}
	if err := c.Call(t.Context(), "POST", "/v1/echo", map[string]int{"servre": 1}, &out); err == nil || !strings.Contains(err.Error(), `unknown field "servre"`) {
		t.Errorf("a misspelt field: %v", err)
	}
	if err := c.Call(t.Context(), "GET", "/v1/nothing", nil, nil); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("an unknown path: %v", err)
	}
	if err := c.Call(t.Context(), "POST", "/v1/echo", drainRequest{Server: strings.Repeat("x", 2<<20)}, &out); err == nil {
		t.Error("a request of two megabytes is taken")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.Call(ctx, "GET", "/v1/hang", nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a client without patience: %v", err)
	}
	if err := NewControl(path, echo()).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "another process answers") {
		t.Errorf("a second server: %v", err)
	}
}

func TestControlEndsThoughAClientHangs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lb.sock")
	ctx, cancel := context.WithCancel(t.Context())
	c := NewControl(path, echo())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	<-c.Ready()
	for range maxClients + 3 { // more than have a place
		conn, err := net.Dial("unix", path)
		must(t, err)
		defer conn.Close()
	}
	cancel()
	select {
	case err := <-done:
		must(t, err)
	case <-time.After(15 * time.Second):
		t.Fatal("it does not end")
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left behind: %v", err)
	}
	if err := NewClient(path).Call(t.Context(), "GET", "/", nil, nil); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("nobody is there: %v", err)
	}
}

func TestControlReplacesWhatADeadOneLeft(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lb.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	must(t, err)
	l.SetUnlinkOnClose(false)
	must(t, l.Close())
	if err := NewClient(path).Call(t.Context(), "GET", "/", nil, nil); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("a socket without a server: %v", err)
	}
	run(t, NewControl(path, echo()))
	if err := NewClient(path).Call(t.Context(), "POST", "/v1/echo", nil, nil); err != nil {
		t.Error(err)
	}
}

func TestControlTakesNoFileForASocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lb.sock")
	must(t, write(path, "precious"))
	if err := NewControl(path, echo()).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "is not a socket") {
		t.Errorf("%v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "precious" {
		t.Errorf("the file holds %q now", b)
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{``, `{}`, `{"server":"10.0.0.1"}`, `{"server":1}`, `{"x":1}`, `{} {}`, `[`, `null`, "\x00", `{"timeout":1e99}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r := httptest.NewRequest("POST", "/v1/echo", bytes.NewReader(body))
		w := httptest.NewRecorder()
		echo().ServeHTTP(w, r)
		answer, _ := io.ReadAll(w.Result().Body)
		switch w.Code {
		case http.StatusOK:
		case http.StatusBadRequest:
			if !bytes.HasPrefix(answer, []byte(`{"error":"`)) {
				t.Errorf("%q is refused with %q", body, answer)
			}
		default:
			t.Errorf("%q gives status %d", body, w.Code)
		}
	})
}
