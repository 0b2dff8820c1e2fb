package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// defaultLinkDir comes before /usr/sbin in root's PATH everywhere we know, so
// that a link there is found before the peer, and the peer's package keeps its
// files.
const defaultLinkDir = "/usr/local/sbin"

type linksOptions struct {
	output
	dir    string
	remove bool
	dryRun bool
}

func linksCommand() *cobra.Command {
	var o linksOptions
	cmd := &cobra.Command{
		Use:   "install-links",
		Short: "Answer to the peers' names",
		Long: `Install-links makes a symbolic link to this program for each peer that it stands
in for, so that scripts which call ipvsadm, ldirectord or keepalived run lvsctl.
--remove takes the links away again.

It never touches a file that is not such a link: when one is in the way, it says
so and changes nothing at all.`,
		Example: `  lvsctl install-links --dry-run
  lvsctl install-links --dir /usr/local/sbin
  lvsctl install-links --dir /usr/local/sbin --remove`,
		GroupID: "own",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(cmd); err != nil {
				return err
			}
			return installLinks(cmd.OutOrStdout(), o)
		},
	}
	cmd.Flags().StringVar(&o.dir, "dir", defaultLinkDir, "the `folder` of the links")
	cmd.Flags().BoolVar(&o.remove, "remove", false, "remove the links again")
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "say what would be done, and do nothing")
	_ = cmd.MarkFlagDirname("dir")
	o.flags(cmd)
	return cmd
}

// link is one step, and the JSON that tells of it.
type link struct {
	Path   string `json:"path"`
	Target string `json:"target"`
	Action string `json:"action"` // create, replace, remove or keep
}

type linksAnswer struct {
	Version int      `json:"version"`
	DryRun  bool     `json:"dry_run"`
	Links   []link   `json:"links"`
	Notes   []string `json:"notes"`
}

func installLinks(w io.Writer, o linksOptions) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot find this program's own file: %w", err)
	}
	if dir, err := os.Stat(o.dir); !o.remove && (err != nil || !dir.IsDir()) {
		return fmt.Errorf("--dir %s: there is no such folder; make it, or choose another", o.dir)
	}
	if err := unix.Access(o.dir, unix.W_OK); err != nil && !o.dryRun && !o.remove {
		return fmt.Errorf("--dir %s: %w", o.dir, err)
	}
	steps, err := planLinks(o.dir, self, o.remove)
	if err != nil {
		return err
	}
	if !o.dryRun {
		if err := makeLinks(steps); err != nil {
			return err
		}
	}
	a := linksAnswer{Version: 1, DryRun: o.dryRun, Links: steps, Notes: []string{}}
	if !o.remove {
		a.Notes = append(a.Notes, overshadowed(steps)...)
	}
	return o.say(w, a, func(w io.Writer) { printLinks(w, a) })
}

// planLinks looks before anything is done; its error names every file in the way.
func planLinks(dir, self string, remove bool) ([]link, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	steps := []link{}
	var inTheWay []error
	for _, name := range slices.Sorted(maps.Keys(peers)) {
		l := link{Path: filepath.Join(dir, name), Target: self}
		l.Action, err = linkAction(l, remove)
		if err != nil {
			inTheWay = append(inTheWay, err)
			continue
		}
		steps = append(steps, l)
	}
	return steps, errors.Join(inTheWay...)
}

func linkAction(l link, remove bool) (string, error) {
	info, err := os.Lstat(l.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && remove:
		return "keep", nil
	case errors.Is(err, fs.ErrNotExist):
		return "create", nil
	case err != nil:
		return "", err
	case info.Mode()&fs.ModeSymlink == 0:
		if remove {
			return "keep", nil // not ours, and not asked for
		}
		return "", fmt.Errorf("%s: there is a file that lvsctl did not make; move it away, or choose another folder with --dir", l.Path)
	}
	target, err := os.Readlink(l.Path)
	if err != nil {
		return "", err
	}
	// A link of ours points to this program, or to an lvsctl that an upgrade
	// has moved.
	ours := target == l.Target || filepath.Base(target) == "lvsctl"
	switch {
	case !ours && remove:
		return "keep", nil
	case !ours:
		return "", fmt.Errorf("%s: there is a link to %s, which lvsctl did not make; remove it, or choose another folder with --dir", l.Path, target)
	case remove:
		return "remove", nil
	case target == l.Target:
		return "keep", nil
	}
	return "replace", nil
}

func makeLinks(steps []link) error {
	var errs []error
	for _, l := range steps {
		switch l.Action {
		case "create":
			errs = append(errs, os.Symlink(l.Target, l.Path))
		case "replace":
			errs = append(errs, replaceLink(l))
		case "remove":
			errs = append(errs, os.Remove(l.Path))
		}
	}
	return errors.Join(errs...)
}

// replaceLink renames the new link over the old one: the name is there all the
// time.
func replaceLink(l link) error {
	tmp := l.Path + ".lvsctl-new"
	if err := os.Symlink(l.Target, tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, l.Path); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return nil
}

// overshadowed says which names PATH still leads elsewhere.
func overshadowed(steps []link) []string {
	var notes []string
	for _, l := range steps {
		name := filepath.Base(l.Path)
		found, err := exec.LookPath(name)
		if err == nil && found != l.Path {
			notes = append(notes, fmt.Sprintf("PATH finds %s first; put %s before it", found, filepath.Dir(l.Path)))
		}
	}
	return notes
}

func printLinks(w io.Writer, a linksAnswer) {
	for _, l := range a.Links {
		switch l.Action {
		case "remove":
			fmt.Fprintf(w, "remove  %s\n", l.Path)
		case "keep":
			fmt.Fprintf(w, "keep    %s\n", l.Path)
		default:
			fmt.Fprintf(w, "%-7s %s -> %s\n", l.Action, l.Path, l.Target)
		}
	}
	for _, n := range a.Notes {
		fmt.Fprintf(w, "note: %s\n", n)
	}
}
