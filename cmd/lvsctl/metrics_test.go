package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// Who asks more than once a second gets the same answer again: the daemons do not
// notice.
func TestFiguresAreASecondOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks := 0
		e := &exporter{say: func(string) {}, look: func(_ context.Context, w io.Writer) ([]error, error) {
			looks++
			fmt.Fprintf(w, "look %d", looks)
			return nil, nil
		}}
		page := e.pages(t.Context())
		ask := func() string {
			w := httptest.NewRecorder()
			page.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
			return w.Body.String()
		}
		for range 10 {
			if got := ask(); got != "look 1" {
				t.Errorf("within a second: %s", got)
			}
			time.Sleep(metricsAge / 10)
		}
		if got := ask(); got != "look 2" {
			t.Errorf("after it: %s", got)
		}
	})
}

func TestExporter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var trouble []error
		var failed error
		var log []string
		e := &exporter{say: func(s string) { log = append(log, s) }, look: func(_ context.Context, w io.Writer) ([]error, error) {
			fmt.Fprint(w, "up 1\n")
			return trouble, failed
		}}
		page := e.pages(t.Context())
		for _, step := range []struct {
			trouble      []error
			failed       error
			method, path string
			status       int
			said         []string
		}{
			{nil, nil, http.MethodGet, "/metrics", 200, nil},
			{nil, nil, http.MethodPost, "/metrics", 405, nil},
			{nil, nil, http.MethodGet, "/v1/status", 404, nil},
			{[]error{errors.New("web: hangs"), errors.New("db: hangs")}, nil, http.MethodGet, "/metrics", 200, []string{"web: hangs; db: hangs"}},
			{[]error{errors.New("web: hangs"), errors.New("db: hangs")}, nil, http.MethodGet, "/metrics", 200, nil},
			{nil, errors.New("no kernel"), http.MethodGet, "/metrics", 503, []string{"no kernel"}},
			{nil, nil, http.MethodGet, "/metrics", 200, []string{"everything answers again"}},
			{nil, nil, http.MethodGet, "/metrics", 200, nil},
		} {
			trouble, failed, log = step.trouble, step.failed, nil
			time.Sleep(metricsAge)
			w := httptest.NewRecorder()
			page.ServeHTTP(w, httptest.NewRequest(step.method, step.path, nil))
			if w.Code != step.status || !slices.Equal(log, step.said) {
				t.Errorf("%+v: %d, and says %q", step, w.Code, log)
			}
			if step.status == 200 && w.Body.String() != "up 1\n" {
				t.Errorf("%+v: %s", step, w.Body)
			}
		}
	})
}
