package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// StateFile keeps a value over restarts. It is the old value or the new one,
// whenever we are killed.
type StateFile struct {
	Path string
	// Version is that of the value's shape: another one is not read.
	Version int

	want chan any
}

const maxState = 16 << 20

// envelope is what a state file holds.
type envelope struct {
	Version int             `json:"version"`
	Data    json.RawMessage `json:"data"`
}

// NewStateFile is a state file whose task, Run, stores what Put is given.
func NewStateFile(path string, version int) *StateFile {
	return &StateFile{Path: path, Version: version, want: make(chan any, 1)}
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

// replace puts a file with new content in place of one, all or nothing.
func replace(path string, content []byte, mode fs.FileMode) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
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

// Keep is the task that stores what Put was given, also at the end. warn hears
// of failures; the value is then tried again with the next.
func (s *StateFile) Keep(warn func(error)) Task {
	return Func("state file "+s.Path, func(ctx context.Context) error {
		for {
			select {
			case v := <-s.want:
				s.keep(v, warn)
			case <-ctx.Done():
				select {
				case v := <-s.want:
					s.keep(v, warn)
				default:
				}
				return nil
			}
		}
	})
}

func (s *StateFile) keep(v any, warn func(error)) {
	if err := s.Store(v); err != nil {
		warn(fmt.Errorf("state cannot be kept: %w", err))
	}
}
