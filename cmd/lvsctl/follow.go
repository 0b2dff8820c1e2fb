package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
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

// slips finds what is no error of a file, and what nobody means who changes a file
// below a daemon that runs: that nothing is left in it, and a word of keepalived's that
// is misspelled since, which might have been the whole of an instance.
func slips(was, is *dialects.Loaded) []config.Problem {
	var ps []config.Problem
	for _, f := range is.Files {
		i := slices.IndexFunc(was.Files, func(old dialects.Read) bool { return old.Name == f.Name })
		if i < 0 {
			continue
		}
		old := was.Files[i]
		if f.Instances == 0 && f.Virtuals == 0 {
			ps = append(ps, nothingIn(f.Name, old.Instances, old.Virtuals)...)
			continue // its words do not matter any more
		}
		ps = append(ps, newMistakes(f.Name, old.Complaints, f.Complaints)...)
	}
	return ps
}

// nothingIn refuses a file that says nothing any more. As with ldirectord's own daemon
// that is a slip, most likely of whoever writes it: nobody takes everything down that
// way.
func nothingIn(file string, routers, services int) []config.Problem {
	var had []string
	for _, some := range []struct {
		n    int
		what string
	}{{routers, "virtual router"}, {services, "virtual service"}} {
		if some.n > 0 {
			had = append(had, some.what)
		}
	}
	if len(had) == 0 {
		return nil
	}
	return []config.Problem{{File: file, Severity: config.Error,
		Text: fmt.Sprintf("no %s in it, while %d are in force", strings.Join(had, " and no "), routers+services),
		Hint: "to remove all of them, stop the daemon"}}
}

// newMistakes refuses what keepalived would complain of now, and would not have before.
func newMistakes(file string, was, is []string) []config.Problem {
	var ps []config.Problem
	for _, line := range is {
		if !slices.ContainsFunc(was, func(old string) bool { return sameComplaint(old, line) }) {
			ps = append(ps, config.Problem{File: file, Severity: config.Error, Text: line,
				Hint: "a file with a new mistake is not taken; restart to run it as it is"})
		}
	}
	return ps
}

// sameComplaint compares without the number of the line.
func sameComplaint(a, b string) bool {
	_, ta, oka := strings.Cut(a, ") ")
	_, tb, okb := strings.Cut(b, ") ")
	return a == b || oka && okb && ta == tb
}
