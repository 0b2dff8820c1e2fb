package daemon

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// Watch follows the content of one file, however it is changed: in place, by
// rename, as editors do it, through symbolic links as a Kubernetes ConfigMap
// does it, on file systems that tell nothing (NFS), with its folder removed and
// made again. Set the fields before Run.
type Watch struct {
	Path string
	// Poll is the time between two looks when nothing is told. 0 = 10 s where the
	// kernel knows of every change, which is on its own file systems, else 1 s.
	Poll time.Duration
	// Settle is how long a file must be left alone before it is read. 0 = 100 ms.
	// One that was put in place by a rename when it was complete is read at once.
	Settle time.Duration
	// Limit is the largest file that is read, in bytes. 0 = 16 MiB.
	Limit int64
	// Warn hears that the kernel cannot tell of changes; polling goes on.
	Warn func(error)

	changes chan Content
	ready   chan struct{}
	seen    stamp // of what was last looked at
	told    [sha256.Size]byte
	fault   string // the last one told
	deaf    bool   // a test's: do without the kernel's help
}

// Content is what a watched file holds now, or why it cannot be used.
type Content struct {
	Data []byte
	Err  error
}

// longestWrite is how long a file may be open for writing before it is read all
// the same: a process may hold it open for ever.
const longestWrite = 10 * time.Second

// NewWatch watches path. have is its content as it is known already; only
// another one is told.
func NewWatch(path string, have []byte) *Watch {
	return &Watch{Path: path, changes: make(chan Content, 1), ready: make(chan struct{}), told: sha256.Sum256(have)}
}

// Changes tells each new content, and each new fault. Of several that nobody
// has taken the last is kept.
func (w *Watch) Changes() <-chan Content { return w.changes }

// Ready implements [Task].
func (w *Watch) Ready() <-chan struct{} { return w.ready }

func (w *Watch) String() string { return "watch " + w.Path }

// Run implements [Task].
func (w *Watch) Run(ctx context.Context) error {
	n := &notifier{wake: make(chan struct{})}
	if !w.deaf {
		n = newNotifier(w.Warn)
	}
	defer n.close()
	poll := time.NewTimer(0)
	defer poll.Stop()
	n.follow(foldersOf(w.Path))
	followed := time.Now()
	close(w.ready)
	for {
		if s := stampOf(w.Path); s != w.seen {
			w.look(ctx, n)
		}
		poll.Reset(w.pause(n))
		select {
		case <-ctx.Done():
			return nil
		case <-n.events():
		case <-poll.C:
			// Folders may have been made again, links may lead elsewhere. A look at
			// the file itself finds out as well, so this need not be soon.
			if time.Since(followed) >= slowPoll {
				n.follow(foldersOf(w.Path))
				followed = time.Now()
			}
		}
	}
}

// slowPoll is the time between two looks that should never find anything.
const slowPoll = 10 * time.Second

// pause is the time to the next look when nothing is told. A file that is not
// there may come with its folder, of which nobody would tell.
func (w *Watch) pause(n *notifier) time.Duration {
	if w.Poll <= 0 && n.w != nil && w.seen.errno == "" && toldOfAll(n.watched) {
		return slowPoll
	}
	return orDuration(w.Poll, time.Second)
}

// look waits until the file is left alone, and reads it.
func (w *Watch) look(ctx context.Context, n *notifier) {
	began := time.Now()
	for {
		before := stampOf(w.Path)
		settle := orDuration(w.Settle, 100*time.Millisecond)
		if before.renamed(w.seen) {
			settle = 0
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(settle):
		}
		n.drain()
		busy := before != stampOf(w.Path) || beingWritten(w.Path)
		if busy && time.Since(began) < longestWrite {
			continue
		}
		data, err := ReadFile(w.Path, w.Limit)
		if stampOf(w.Path) != before && time.Since(began) < longestWrite {
			continue // it changed while it was read
		}
		w.seen = before
		w.tell(data, err)
		n.follow(foldersOf(w.Path))
		return
	}
}

func (w *Watch) tell(data []byte, err error) {
	if err != nil {
		if w.fault != err.Error() {
			w.fault = err.Error()
			w.put(Content{Err: err})
		}
		return
	}
	sum := sha256.Sum256(data)
	// After a fault the same content is news again: the fault is over.
	if sum == w.told && w.fault == "" {
		return
	}
	w.told, w.fault = sum, ""
	w.put(Content{Data: data})
}

// put keeps the last of what nobody has taken.
func (w *Watch) put(c Content) {
	select {
	case <-w.changes:
	default:
	}
	w.changes <- c
}

// ReadFile reads a regular file of at most limit bytes (0 = 16 MiB). Anything
// else is an error that says what it is; nothing can make it wait or fill the
// memory.
func ReadFile(path string, limit int64) ([]byte, error) {
	if limit <= 0 {
		limit = 16 << 20
	}
	// Looked at before it is opened: to open a device can be an act by itself.
	if st, err := os.Stat(path); err != nil {
		return nil, err
	} else if err := readable(path, st, limit); err != nil {
		return nil, err
	}
	h, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	st, err := h.Stat()
	if err != nil {
		return nil, err
	}
	if err := readable(path, st, limit); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(h, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s: more than %d bytes", path, limit)
	}
	return b, err
}

func readable(path string, st fs.FileInfo, limit int64) error {
	switch {
	case st.IsDir():
		return fmt.Errorf("%s: is a directory, not a file", path)
	case !st.Mode().IsRegular():
		return fmt.Errorf("%s: is not a regular file (%v)", path, st.Mode())
	case st.Size() > limit:
		return fmt.Errorf("%s: %d bytes, more than %d are not read", path, st.Size(), limit)
	}
	return nil
}

// stamp changes whenever a file does: a new inode, another size, any write. The
// time of the last change of the inode cannot be set back by touch.
type stamp struct {
	dev, ino     uint64
	size         int64
	mtime, ctime unix.Timespec
	errno        string
}

func stampOf(path string) stamp {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return stamp{errno: err.Error()}
	}
	return stamp{dev: uint64(st.Dev), ino: st.Ino, size: st.Size, mtime: st.Mtim, ctime: st.Ctim}
}

// renamed tells whether a file took the place of another when it was complete:
// its inode was changed after the last write, which a rename does. A file that
// is written where it stands, in whatever number of steps, is not of this kind.
func (s stamp) renamed(before stamp) bool {
	return s.errno == "" && before.ino != 0 && s.ino != before.ino && s.ctime.Nano() > s.mtime.Nano()
}

// beingWritten tells whether some process has the file open for writing. The
// kernel knows: it grants a lease for reading only if nobody has. Where it
// grants none to us at all (another's file, some file systems) nobody writes.
func beingWritten(path string) bool {
	h, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	defer h.Close() // which also gives the lease back
	_, err = unix.FcntlInt(h.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	return errors.Is(err, unix.EAGAIN)
}

// toldOfAll tells whether nobody but this kernel changes what is in folders: a
// server's files, or those of the host below us, change without a word.
func toldOfAll(dirs []string) bool {
	for _, dir := range dirs {
		var st unix.Statfs_t
		if unix.Statfs(dir, &st) != nil {
			return false
		}
		switch uint32(st.Type) {
		case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC, unix.TMPFS_MAGIC, unix.OVERLAYFS_SUPER_MAGIC:
		default:
			return false
		}
	}
	return len(dirs) > 0
}

// foldersOf lists the folders in which a change can change what a path leads
// to: its own, and those of each link on the way.
func foldersOf(path string) []string {
	var dirs []string
	add := func(dir string) {
		if !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	for range 16 { // links may go in circles
		add(filepath.Dir(path))
		// A link may be any part of the path: ConfigMaps link the folder.
		if real, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
			add(real)
		}
		to, err := os.Readlink(path)
		if err != nil {
			break
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path), to)
		}
		path = to
	}
	return dirs
}

// notifier is fsnotify, or nothing where that cannot be had.
type notifier struct {
	w       *fsnotify.Watcher
	warn    func(error)
	warned  bool
	watched []string
	wake    chan struct{}
}

func newNotifier(warn func(error)) *notifier {
	n := &notifier{warn: warn, wake: make(chan struct{}, 1)}
	w, err := fsnotify.NewBufferedWatcher(64)
	if err != nil {
		n.complain(err)
		return n
	}
	n.w = w
	go n.forward()
	return n
}

// calm is the least time between two wake-ups. A folder in which somebody writes
// all the time, a log beside the configuration, must not cost more than that.
const calm = 10 * time.Millisecond

// forward makes one wake-up of any number of events, and sees to it that the
// watcher's own buffer is always emptied.
func (n *notifier) forward() {
	for {
		select {
		case _, ok := <-n.w.Events:
			if !ok {
				return
			}
		case _, ok := <-n.w.Errors: // an overflow, mostly: then anything may have happened
			if !ok {
				return
			}
		}
		for len(n.w.Events) > 0 {
			<-n.w.Events
		}
		select {
		case n.wake <- struct{}{}:
		default:
		}
		time.Sleep(calm)
	}
}

func (n *notifier) complain(err error) {
	if n.warn != nil && !n.warned {
		n.warned = true
		n.warn(fmt.Errorf("the kernel will not tell of changed files, they are looked at once a while: %w", err))
	}
}

// follow watches these folders and no others. It is called again and again: a
// folder that was removed and made again has to be watched anew.
func (n *notifier) follow(dirs []string) {
	if n.w == nil {
		return
	}
	for _, d := range n.watched {
		if !slices.Contains(dirs, d) {
			_ = n.w.Remove(d) // it may be gone, which is as good
		}
	}
	n.watched = n.watched[:0]
	for _, d := range dirs {
		err := n.w.Add(d)
		switch {
		case err == nil:
			n.watched = append(n.watched, d)
		case !errors.Is(err, fs.ErrNotExist):
			n.complain(err)
		}
	}
}

func (n *notifier) events() <-chan struct{} { return n.wake }

func (n *notifier) drain() {
	select {
	case <-n.wake:
	default:
	}
}

func (n *notifier) close() {
	if n.w != nil {
		_ = n.w.Close()
	}
}

func orDuration(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}

// Folder follows the names of the files in a folder, such as maintenancedir. A
// folder that is absent is empty.
type Folder struct {
	Path string
	// Poll is the time between two looks when nothing is told. 0 = 1 s.
	Poll time.Duration
	Warn func(error)

	names chan []string
	ready chan struct{}
}

// maxNames is how many names of a folder are read.
const maxNames = 1 << 16

// NewFolder follows the folder at path.
func NewFolder(path string) *Folder {
	return &Folder{Path: path, names: make(chan []string, 1), ready: make(chan struct{})}
}

// Names tells the names, sorted, at first and whenever they change.
func (f *Folder) Names() <-chan []string { return f.names }

// Ready implements [Task].
func (f *Folder) Ready() <-chan struct{} { return f.ready }

func (f *Folder) String() string { return "folder " + f.Path }

// Run implements [Task].
func (f *Folder) Run(ctx context.Context) error {
	n := newNotifier(f.Warn)
	defer n.close()
	poll := time.NewTicker(orDuration(f.Poll, time.Second))
	defer poll.Stop()
	var told []string
	for first := true; ; first = false {
		n.follow([]string{f.Path, filepath.Dir(filepath.Clean(f.Path))})
		if names := list(f.Path); first || !slices.Equal(names, told) {
			told = names
			select {
			case <-f.names:
			default:
			}
			f.names <- names
		}
		if first {
			close(f.ready)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-n.events():
		case <-poll.C:
		}
	}
}

func list(dir string) []string {
	h, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer h.Close()
	names, err := h.Readdirnames(maxNames)
	if err != nil {
		return nil
	}
	slices.Sort(names)
	return names
}
