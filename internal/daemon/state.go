package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// StateFile keeps a value over restarts. It is the old value or the new one,
// whenever we are killed.
type StateFile struct {
	Path string
	// Version is that of the value's shape: another one is not read.
	Version int

	want  chan any
	asked chan chan<- struct{}
}

const maxState = 16 << 20

// envelope is what a state file holds.
type envelope struct {
	Version int             `json:"version"`
	Data    json.RawMessage `json:"data"`
}

// NewStateFile is a state file whose task, Run, stores what Put is given.
func NewStateFile(path string, version int) *StateFile {
	return &StateFile{Path: path, Version: version, want: make(chan any, 1), asked: make(chan chan<- struct{})}
}

// Load reads the value into v. A file that is absent leaves v as it is and is no
// error. One that cannot be read, is torn, or has another version is an error,
// for the log: v is then not to be used, and the program begins without.
func (s *StateFile) Load(v any) error {
	b, err := readSome(s.Path, maxState+1)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && len(b) > maxState {
		err = fmt.Errorf("more than %d bytes", maxState)
	}
	if err == nil {
		err = decodeState(b, s.Version, v)
	}
	if err != nil {
		return fmt.Errorf("state file %s cannot be used, what it kept is forgotten: %w", s.Path, err)
	}
	return nil
}

func decodeState(b []byte, version int, v any) error {
	var e envelope
	if err := json.Unmarshal(b, &e); err != nil {
		return err
	}
	if e.Version != version {
		return fmt.Errorf("version %d, want %d", e.Version, version)
	}
	return json.Unmarshal(e.Data, v)
}

// Store writes the value now: to a new file beside, to the disk, then in place
// of the old one.
func (s *StateFile) Store(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	b, err := json.Marshal(envelope{s.Version, data})
	if err != nil {
		return err
	}
	return replace(s.Path, append(b, '\n'), 0o600)
}

// MakeFolder makes a folder, and those that it is in, that everybody may enter whatever
// the umask: who looks for something in it may be another user.
func MakeFolder(path string) error {
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		return nil
	}
	if parent := filepath.Dir(path); parent != path {
		if err := MakeFolder(parent); err != nil {
			return err
		}
	}
	err := os.Mkdir(path, 0o755)
	if st, e := os.Stat(path); errors.Is(err, fs.ErrExist) && e == nil && st.IsDir() {
		return nil // somebody was faster
	}
	if err != nil {
		return err
	}
	return os.Chmod(path, 0o755)
}

// replace puts a file with new content in place of one, all or nothing.
func replace(path string, content []byte, mode fs.FileMode) error {
	dir := filepath.Dir(path)
	if err := MakeFolder(dir); err != nil {
		return err
	}
	// One name, so that what a kill leaves behind does not pile up.
	next := path + ".new"
	h, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = h.Write(content)
	if err = errors.Join(err, h.Sync(), h.Close()); err != nil {
		return errors.Join(err, os.Remove(next))
	}
	if err := os.Rename(next, path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Put hands a value to the task and returns at once; of values that come faster
// than the disk takes them the last is stored. v must not change afterwards. One
// goroutine calls Put.
func (s *StateFile) Put(v any) {
	select {
	case <-s.want:
	default:
	}
	s.want <- v
}

// Kept waits until what Put was given before is on the disk, or the disk has refused
// it, of which the task's warn hears; at most until ctx ends.
func (s *StateFile) Kept(ctx context.Context) {
	done := make(chan struct{})
	select {
	case s.asked <- done:
		<-done
	case <-ctx.Done():
	}
}

// keepAgain is how often a value that could not be stored is tried again.
const keepAgain = time.Second

// Keep is the task that stores what Put was given, also at the end. A value that
// cannot be stored is tried again and again; warn hears of it once for each
// reason, and of its end.
func (s *StateFile) Keep(warn func(error)) Task {
	return Func("state file "+s.Path, func(ctx context.Context) error {
		k := keeping{s: s, warn: warn}
		for {
			var again <-chan time.Time
			if k.fault != "" {
				again = time.After(keepAgain)
			}
			select {
			case k.v = <-s.want:
				k.store()
			case <-again:
				k.store()
			case done := <-s.asked:
				k.last()
				close(done)
			case <-ctx.Done():
				k.last()
				return nil
			}
		}
	})
}

// keeping is the state of a Keep.
type keeping struct {
	s     *StateFile
	warn  func(error)
	v     any
	fault string // why v is not stored, empty when it is
}

func (k *keeping) store() {
	err := k.s.Store(k.v)
	switch {
	case err == nil && k.fault != "":
		k.fault = ""
		k.warn(fmt.Errorf("state is kept again in %s", k.s.Path))
	case err != nil && err.Error() != k.fault:
		k.fault = err.Error()
		k.warn(fmt.Errorf("state cannot be kept, and would not outlive a restart: %w", err))
	}
}

// last stores what is not stored yet.
func (k *keeping) last() {
	select {
	case k.v = <-k.s.want:
		k.store()
	default:
		if k.fault != "" {
			k.store()
		}
	}
}
