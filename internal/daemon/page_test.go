package daemon

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestPage(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	p := NewPage("127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	}))
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, p) }()
	if !AllReady(ctx, p) {
		t.Fatal("it is not ready")
	}
	url := "http://" + p.At().String()
	res, err := http.Post(url, "text/plain", strings.NewReader("a word"))
	if err != nil {
		t.Fatal(err)
	}
	if said, err := io.ReadAll(res.Body); err != nil || string(said) != "a word" {
		t.Errorf("it says %q, %v", said, err)
	}
	res.Body.Close()
	if res, err := http.Post(url, "text/plain", strings.NewReader(strings.Repeat("a", maxRequest+1))); err == nil {
		if said, _ := io.ReadAll(res.Body); len(said) > maxRequest {
			t.Errorf("it has taken %d bytes", len(said))
		}
		res.Body.Close()
	}
	if err := NewPage(p.At().String(), nil).Run(ctx); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("a second one at the same address: %v", err)
	}
	http.DefaultClient.CloseIdleConnections()
	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("told to stop: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it does not stop")
	}
}
