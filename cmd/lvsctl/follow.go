package main

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/config/dialects"
	"github.com/lvsctl/lvsctl/internal/daemon"
)

// follower has something done whenever one of some files has
// another content. Which files these are may change, as when haresources names
// another configuration.
type follower struct {
	// changed hears of it, of each file in another goroutine.
	changed func(name string, c daemon.Content)
	warn    func(error)
	files   chan []dialects.Read
}

func newFollower(changed func(string, daemon.Content), warn func(error)) *follower {
	return &follower{changed: changed, warn: warn, files: make(chan []dialects.Read, 1)}
}

// follow follows these files, and no others. One goroutine at a time calls it.
func (f *follower) follow(files []dialects.Read) { replaceIn(f.files, files) }

// run is its task.
func (f *follower) run(ctx context.Context) error {
	watched := map[string]context.CancelFunc{}
	var tasks sync.WaitGroup
	defer tasks.Wait()
	for {
		select {
		case <-ctx.Done():
			for _, end := range watched {
				end()
			}
			return nil
		case files := <-f.files:
			for name, end := range watched {
				if !slices.ContainsFunc(files, func(r dialects.Read) bool { return r.Name == name }) {
					end()
					delete(watched, name)
				}
			}
			for _, r := range files {
				if watched[r.Name] == nil {
					one, end := context.WithCancel(ctx)
					watched[r.Name] = end
					f.watch(one, r, &tasks)
				}
			}
		}
	}
}

// watch follows a file from the content that was read of it.
func (f *follower) watch(ctx context.Context, r dialects.Read, tasks *sync.WaitGroup) {
	w := daemon.NewWatch(r.Name, r.Text)
	w.Warn = f.warn
	tasks.Go(func() {
		if err := w.Run(ctx); err != nil {
			f.warn(err)
		}
	})
	tasks.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case c := <-w.Changes():
				f.changed(r.Name, c)
			}
		}
	})
}

// noneLeft finds files of ldirectord that had services, and have none any more. As
// with ldirectord's own daemon that is a slip, most likely of whoever writes them:
// nobody takes all services down that way.
func noneLeft(was, is *dialects.Loaded) []config.Problem {
	var ps []config.Problem
	for _, f := range is.Files {
		if had := servicesIn(was, f.Name); f.Dialect == "ldirectord" && had > 0 && servicesIn(is, f.Name) == 0 {
			ps = append(ps, nothingIn(f.Name, had))
		}
	}
	return ps
}

// nothingIn refuses a file that had services.
func nothingIn(file string, had int) config.Problem {
	return config.Problem{File: file, Severity: config.Error,
		Text: fmt.Sprintf("no virtual service in it, while %d are in force", had),
		Hint: "to remove all of them, stop the daemon"}
}

func servicesIn(l *dialects.Loaded, file string) int {
	n := 0
	for _, v := range l.Site.Virtuals {
		if v.Source.File == file {
			n++
		}
	}
	return n
}
