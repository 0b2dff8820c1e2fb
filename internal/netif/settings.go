package netif

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/fsnotify/fsnotify"
)

// SettingWatch tells of writes to settings below /proc/sys/net, whoever makes them.
// The kernel has no message for most of them, but it tells of the files as of any
// others (inotify). What a container writes that has a /proc of its own is not told:
// look now and then all the same.
type SettingWatch struct {
	k     *Kernel
	w     *fsnotify.Watcher
	files map[string]bool
	out   chan struct{}
}

// WatchSettings tells of writes until the context ends. It follows no setting yet.
func (k *Kernel) WatchSettings(ctx context.Context) (*SettingWatch, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watching settings: %w", err)
	}
	s := &SettingWatch{k: k, w: w, files: map[string]bool{}, out: make(chan struct{}, 1)}
	go s.run(ctx)
	return s, nil
}

// Written has one value after any number of writes.
func (s *SettingWatch) Written() <-chan struct{} { return s.out }

// Follow names the settings to tell of, by key; those of before are followed no more.
// Call it again at each look: a device that comes back has new files, and one that is
// not there yet has none, which is no error. It is not safe for concurrent use.
func (s *SettingWatch) Follow(keys []string) error {
	want := map[string]bool{}
	for _, key := range keys {
		want["/proc/sys/"+SysctlPath(key)] = true
	}
	return s.k.inside(func() error {
		for file := range s.files {
			if !want[file] {
				_ = s.w.Remove(file) // it may have gone with its device
				delete(s.files, file)
			}
		}
		for _, file := range slices.Sorted(maps.Keys(want)) {
			if err := s.w.Add(file); err == nil {
				s.files[file] = true
			} else if !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("watching %s: %w", file, err)
			}
		}
		return nil
	})
}

func (s *SettingWatch) run(ctx context.Context) {
	defer s.w.Close()
	for {
		select {
		case <-ctx.Done():
			return
		case e, open := <-s.w.Events:
			if !open {
				return
			}
			if !e.Has(fsnotify.Write) {
				continue
			}
		case _, open := <-s.w.Errors: // the queue ran over: something was written
			if !open {
				return
			}
		}
		select {
		case s.out <- struct{}{}:
		default: // the one before was not taken yet
		}
	}
}
