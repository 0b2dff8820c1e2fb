package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/lvsctl/lvsctl/internal/daemon"
	"github.com/lvsctl/lvsctl/internal/metrics"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/lvs/kernel"
)

const (
	// metricsPatience is how long the daemons may take together: less than the ten
	// seconds after which Prometheus gives up.
	metricsPatience = 5 * time.Second
	// metricsAge is how old an answer may be. Who asks more often gets the last one
	// again: a stranger cannot make the daemons work.
	metricsAge = time.Second
)

func metricsCommand() *cobra.Command {
	var address string
	cmd := &cobra.Command{
		Use:   "metrics",
		Short: "The figures of this director, for Prometheus",
		Long: `Metrics prints what the kernel counts for each service and server, and what the
running daemons say of addresses, services, servers and checks, in Prometheus' text
format: once, as the textfile collector of node_exporter wants it, or with --listen
whenever somebody asks for /metrics.

It is a program of its own beside the daemons, which listen on no network. What is
at /metrics can be read by everybody who reaches the address, and nothing can be
changed there.`,
		Example: `  lvsctl metrics > /var/lib/prometheus/node-exporter/lvsctl.prom
  lvsctl metrics --listen 10.0.0.1:9650`,
		GroupID: "own",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("listen") {
				return serveMetrics(cmd, address)
			}
			var b bytes.Buffer
			trouble, err := printMetrics(cmd.Context(), &b)
			if err != nil {
				return err
			}
			for _, t := range trouble {
				fmt.Fprintf(cmd.ErrOrStderr(), "lvsctl: %v\n", t)
			}
			_, err = cmd.OutOrStdout().Write(b.Bytes())
			return err
		},
	}
	cmd.Flags().StringVar(&address, "listen", "", "answer at http://`ADDRESS:PORT`/metrics until told to stop, in place of printing once")
	_ = cmd.RegisterFlagCompletionFunc("listen", cobra.FixedCompletions([]string{"127.0.0.1:9650", ":9650"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// printMetrics looks at the kernel and asks the daemons. What could not be had is
// in the figures as well; it is an error when nothing could.
func printMetrics(ctx context.Context, w io.Writer) (trouble []error, err error) {
	ctx, cancel := context.WithTimeout(ctx, metricsPatience)
	defer cancel()
	h := metrics.Host{Version: ownVersion()}
	h.Table, err = readTable()
	h.TableRead = err == nil
	if err != nil {
		trouble = append(trouble, fmt.Errorf("the kernel's table: %w", err))
	}
	sockets, err := filepath.Glob(socketOf("*"))
	if err != nil {
		return nil, err
	}
	h.Daemons = make([]metrics.Daemon, len(sockets))
	silent := make([]error, len(sockets))
	var asked sync.WaitGroup
	for i, s := range sockets {
		asked.Go(func() { h.Daemons[i], silent[i] = measure(ctx, s) })
	}
	asked.Wait()
	for _, err := range silent {
		if err != nil {
			trouble = append(trouble, err)
		}
	}
	if !h.TableRead && len(h.Daemons) == 0 {
		return nil, errors.Join(trouble...)
	}
	return trouble, h.Write(w)
}

// readTable loads no module: who asks from outside makes us run no command.
func readTable() (lvs.State, error) {
	k, err := kernel.Open(kernel.WithoutModprobe())
	if err != nil {
		return nil, err
	}
	defer k.Close()
	return k.State()
}

// measure asks one daemon. One that was killed has left its socket behind, and is
// told of as one that does not answer.
func measure(ctx context.Context, socket string) (metrics.Daemon, error) {
	d := metrics.Daemon{Name: nameOf(socket)}
	var st statusAnswer
	if err := daemon.NewClient(socket).Call(ctx, http.MethodGet, "/v1/status", nil, &st); err != nil {
		return d, err
	}
	d.Up, d.Kind, d.File, d.FileRefused = true, st.Daemon, st.File, st.Refused != nil
	d.Instances, d.Sync, d.Snapshot = st.Instances, st.Sync, st.Snapshot
	return d, nil
}

// serveMetrics answers until a signal says stop.
func serveMetrics(cmd *cobra.Command, address string) error {
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil {
		return usage(cmd, fmt.Errorf("--listen %q: it is an address and a port, as 127.0.0.1:9650, or a port of all addresses, as :9650", address))
	}
	log := cmd.ErrOrStderr()
	signals, ctx := daemon.NewSignals(cmd.Context(), func() {}) // there is no file to read again
	defer signals.Close()
	e := &exporter{look: printMetrics, say: func(text string) { fmt.Fprintf(log, "lvsctl: %s\n", harmless(text)) }}
	page := daemon.NewPage(address, e.pages(ctx))
	ready := daemon.Func("readiness", func(ctx context.Context) error {
		if daemon.AllReady(ctx, page) {
			e.say(fmt.Sprintf("listening at http://%v/metrics", page.At()))
			daemon.Notify{}.Ready()
		}
		return nil
	})
	return daemon.Serve(ctx, page, ready)
}

// exporter answers with figures that are at most metricsAge old.
type exporter struct {
	look func(context.Context, io.Writer) ([]error, error)
	say  func(string)

	mu      sync.Mutex
	when    time.Time
	text    []byte
	failed  error
	trouble string // that was said last
}

func (e *exporter) pages(ctx context.Context) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		text, err := e.figures(ctx)
		if err != nil {
			http.Error(w, "there are no figures: the log of lvsctl metrics says why", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", metrics.ContentType)
		_, _ = w.Write(text) // who asked may have gone
	})
	return mux
}

func (e *exporter) figures(ctx context.Context) ([]byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if time.Since(e.when) >= metricsAge {
		var b bytes.Buffer
		var trouble []error
		trouble, e.failed = e.look(ctx, &b)
		e.when, e.text = time.Now(), b.Bytes()
		e.tell(errors.Join(append(trouble, e.failed)...))
	}
	return e.text, e.failed
}

// tell logs what could not be had, once for as long as it stays the same.
func (e *exporter) tell(err error) {
	text := "everything answers again"
	if err != nil {
		text = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	if text == e.trouble || err == nil && e.trouble == "" {
		return
	}
	e.trouble = text
	e.say(text)
}
