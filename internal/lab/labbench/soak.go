package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/lvsctl/lvsctl/internal/lab"
	"github.com/lvsctl/lvsctl/internal/lab/soak"
)

// soak lets a cluster of ours live through everything, for an hour or as long as the
// environment's SOAK says (10m), with the events of its SEED.
func (b *bench) soak() error {
	o := soak.Options{Lvsctl: filepath.Join(b.bin, "lvsctl"), Seed: uint64(time.Now().UnixNano()) % 1e6, For: time.Hour, Log: os.Stdout}
	var err error
	if word := os.Getenv("SOAK"); word != "" {
		if o.For, err = time.ParseDuration(word); err != nil || o.For <= 0 {
			return fmt.Errorf("SOAK=%s is no time: try 10m", word)
		}
	}
	if word := os.Getenv("SEED"); word != "" {
		if o.Seed, err = strconv.ParseUint(word, 10, 64); err != nil {
			return fmt.Errorf("SEED: %w", err)
		}
	}
	return act(func(t lab.T) error {
		rep, err := soak.Run(t, o)
		if rep == nil {
			return err
		}
		rep.Print(os.Stdout)
		for _, v := range rep.Violations {
			fmt.Println(v)
		}
		b.bound("soak: violations", "", float64(len(rep.Violations)), 0, "none")
		for _, name := range []string{"lb1", "lb2", "web1", "web2"} {
			w := rep.Weight[name]
			most, _, _ := w.Most()
			b.note("  "+name+": resident memory at the most", "MiB", float64(most)/(1<<20), 0)
		}
		return err
	})
}
