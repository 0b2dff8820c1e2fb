package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/lvsctl/lvsctl/realserver"
)

// The state is kept twice: under /var/lib it survives a restart, and the copy
// under /run serves when that one is lost.
var stateFiles = []string{"/var/lib/lvsctl/realserver.json", "/run/lvsctl/realserver.json"}

const lockFile = "/run/lvsctl/realserver.lock"

// stateStore is the state and the lock that keeps two of us from changing the host
// at once.
type stateStore struct {
	state realserver.State
	notes []string // what was odd about the files
	lock  *os.File
}

// openStore reads the state; to change it is to have the lock.
func openStore(toChange bool) (*stateStore, error) {
	s := &stateStore{}
	if toChange {
		if err := s.acquire(); err != nil {
			return nil, err
		}
	}
	for _, path := range stateFiles {
		st, err := readState(path)
		if err == nil {
			s.state = st
			return s, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			s.notes = append(s.notes, fmt.Sprintf("%s: %v; looking for another copy", path, err))
		}
	}
	if len(s.notes) > 0 {
		s.notes = append(s.notes, "what was there before is not known; down will leave ARP silent")
	}
	return s, nil
}

func readState(path string) (realserver.State, error) {
	f, err := os.Open(path)
	if err != nil {
		return realserver.State{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 5<<20))
	if err != nil {
		return realserver.State{}, err
	}
	return realserver.Decode(data)
}

func (s *stateStore) acquire() error {
	if err := os.MkdirAll(filepath.Dir(lockFile), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(lockFile, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return fmt.Errorf("%s: another lvsctl realserver is at work; try again when it is done", lockFile)
		}
		return fmt.Errorf("%s: %w", lockFile, err)
	}
	s.lock = f
	return nil
}

func (s *stateStore) tell(w io.Writer) {
	for _, note := range s.notes {
		fmt.Fprintf(w, "lvsctl: %s\n", note)
	}
}

func (s *stateStore) close() {
	if s.lock != nil {
		s.lock.Close() // and so unlocked
	}
}

// save writes both copies, or removes them when there is nothing to remember.
func (s *stateStore) save(st realserver.State) error {
	if len(st.VIPs) == 0 && len(st.Shared) == 0 {
		return removeAll(stateFiles)
	}
	data, err := st.Encode()
	if err != nil {
		return err
	}
	for _, path := range stateFiles {
		if err := writeFile(path, data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func removeAll(paths []string) error {
	var errs []error
	for _, path := range paths {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// writeFile replaces a file as a whole: after a crash it is the old one or the new
// one, never half of one.
func writeFile(path string, data []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// persistFiles are the files that bring back what is up.
func persistFiles(st realserver.State) ([]realserver.File, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return realserver.Persist(realserver.Systemd, self, st.Setups())
}

// persist writes the files and enables the unit, and says which were changed.
func persist(st realserver.State, dryRun bool) ([]string, error) {
	files, err := persistFiles(st)
	if err != nil {
		return []string{}, err
	}
	changed := []string{}
	for _, f := range files {
		old, err := os.ReadFile(f.Path)
		switch {
		case err == nil && string(old) == f.Text:
			continue
		case err == nil && !realserver.Ours(string(old)):
			return changed, fmt.Errorf("%s: there is a file that lvsctl did not write; move it away first", f.Path)
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return changed, err
		}
		if !dryRun {
			if err := writeFile(f.Path, []byte(f.Text), 0o644); err != nil {
				return changed, err
			}
		}
		changed = append(changed, "write "+f.Path)
	}
	linked, err := enable(dryRun)
	return append(changed, linked...), err
}

// enable does what "systemctl enable" does, also where systemd does not run yet.
func enable(dryRun bool) ([]string, error) {
	if target, err := os.Readlink(realserver.UnitLink); err == nil && target == realserver.UnitFile {
		return nil, nil
	}
	said := []string{"enable " + realserver.UnitName}
	if dryRun {
		return said, nil
	}
	if err := os.MkdirAll(filepath.Dir(realserver.UnitLink), 0o755); err != nil {
		return nil, err
	}
	return said, os.Symlink(realserver.UnitFile, realserver.UnitLink)
}

// unpersist brings our files, where there are any, to what is still up: those that
// nothing needs go.
func unpersist(st realserver.State, dryRun bool) ([]string, error) {
	if len(st.Setups()) > 0 {
		if ours, err := isOurs(realserver.UnitFile); !ours {
			return []string{}, err
		}
		return persist(st, dryRun)
	}
	removed := []string{}
	for _, path := range []string{realserver.UnitLink, realserver.UnitFile, realserver.SysctlFile} {
		ours, err := isOurs(path)
		if err != nil {
			return removed, err
		}
		if !ours {
			continue
		}
		if !dryRun {
			if err := os.Remove(path); err != nil {
				return removed, err
			}
		}
		removed = append(removed, "remove "+path)
	}
	return removed, nil
}

func isOurs(path string) (bool, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return realserver.Ours(string(text)), err
}

// persistent is whether our files are there and say what is up.
func persistent(st realserver.State, s realserver.Setup) bool {
	files, err := persistFiles(st)
	if err != nil || len(files) == 0 {
		return false
	}
	up := slices.ContainsFunc(st.Setups(), func(t realserver.Setup) bool { return t.Method == s.Method && containsAll(t.VIPs, s.VIPs) })
	if !up {
		return false
	}
	for _, f := range files {
		if text, err := os.ReadFile(f.Path); err != nil || string(text) != f.Text {
			return false
		}
	}
	_, err = os.Readlink(realserver.UnitLink)
	return err == nil
}

func containsAll[T comparable](list, wanted []T) bool {
	for _, w := range wanted {
		if !slices.Contains(list, w) {
			return false
		}
	}
	return true
}
