package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	dialect "github.com/lvsctl/lvsctl/config/ldirectord"
	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/ldirector/check"
	"github.com/lvsctl/lvsctl/lvs/lvstest"
)

// BenchmarkReload is what an edit of one service of five hundred costs, from the
// text to the kernel's verdict, without the time that the file is given to settle.
func BenchmarkReload(b *testing.B) {
	text := func(weight int) []byte {
		var w strings.Builder
		w.WriteString("checkinterval=1\nquiescent=yes\n")
		for i := range 500 {
			fmt.Fprintf(&w, "virtual=172.16.%d.%d:80\n\treal=10.64.%d.%d:80 masq %d\n\tscheduler=rr\n\tprotocol=tcp\n\tservice=none\n\tchecktype=on\n",
				i>>8, i&255, i>>8, i&255, 1+weight*(1-min(i, 1)))
		}
		return []byte(w.String())
	}
	k := lvstest.New()
	runner := check.NewRunner(check.Host{}, check.Options{})
	d := ldirector.New(ldirector.Options{Kernel: k, Checks: runner, Look: time.Hour})
	go d.Run(b.Context())
	go runner.Run(b.Context())
	for i := 0; b.Loop(); i++ {
		file, problems := dialect.Parse("b.cf", text(i%7), strictOptions(b.Context()))
		if len(problems) > 0 {
			b.Fatal(problems)
		}
		if err := d.Load(b.Context(), file.Virtuals()); err != nil {
			b.Fatal(err)
		}
	}
	if table, _ := k.Read(); len(table) != 500 {
		b.Fatalf("%d services", len(table))
	}
}
