package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/lvsctl/lvsctl/internal/daemon"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/lvs/kernel"
)

type applyOptions struct {
	output
	siteFiles
	dryRun, prune       bool
	confirm             time.Duration
	confirmed, rollback bool
}

func applyCommand() *cobra.Command {
	var o applyOptions
	cmd := &cobra.Command{
		Use:   "apply FILE...",
		Short: "Make the table what files want",
		Long: `Apply makes the changes that lvsctl diff shows: what is new first, then what
changes, and only then what goes, so that no service loses its last server before
the new one stands. It is all or nothing: when the kernel refuses a change, those
already made are taken back, and apply says so and exits with 1.

Only the table is made. Addresses, virtual routers and checks in the files are for
a daemon (lvsctl run); without one every server is in with its weight, well or
not. Services that no file has are left alone, unless --prune is given.

With --confirm the old table comes back by itself, unless somebody says in time
that all is well: with Enter at the terminal, or with lvsctl apply --confirmed
from anywhere. The process that waits survives the terminal, the connection and
this command, so a change that cuts us off undoes itself.`,
		Example: `  lvsctl apply --dry-run /etc/ha.d/ldirectord.cf
  lvsctl apply --prune --confirm 60s site.cf    # the engineer's seat belt
  lvsctl apply --confirmed                      # from another terminal: keep it
  lvsctl apply --rollback                       # or take it back now`,
		GroupID: "own",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := errors.Join(o.check(cmd), o.sane(cmd, args)); err != nil {
				return err
			}
			return o.run(cmd, args)
		},
	}
	fl := cmd.Flags()
	fl.BoolVar(&o.dryRun, "dry-run", false, "print the changes, and make none")
	fl.BoolVar(&o.prune, "prune", false, "remove the services that no file has")
	fl.DurationVar(&o.confirm, "confirm", 0, "take the changes back after this `time` (60s, 5m), unless they are confirmed")
	fl.BoolVar(&o.confirmed, "confirmed", false, "confirm the changes that wait for it")
	fl.BoolVar(&o.rollback, "rollback", false, "take the changes back that wait to be confirmed")
	o.siteFiles.flags(cmd)
	o.output.flags(cmd)
	return cmd
}

// sane refuses what does not go together.
func (o *applyOptions) sane(cmd *cobra.Command, args []string) error {
	switch {
	case o.confirmed && o.rollback:
		return usage(cmd, errors.New("--confirmed keeps the changes and --rollback takes them back; choose"))
	case (o.confirmed || o.rollback) && (len(args) > 0 || o.confirm != 0 || o.dryRun || o.prune):
		return usage(cmd, errors.New("--confirmed and --rollback stand alone"))
	case o.confirmed || o.rollback:
		return nil
	case cmd.Flags().Changed("confirm") && (o.confirm < time.Second || o.confirm > maxConfirm):
		return usage(cmd, fmt.Errorf("--confirm %v: a time from 1s to %v", o.confirm, maxConfirm))
	case o.confirm != 0 && o.dryRun:
		return usage(cmd, errors.New("--dry-run changes nothing that --confirm could take back"))
	}
	return someFiles(cmd, args)
}

// applyAnswer is the JSON of apply.
type applyAnswer struct {
	diffAnswer
	DryRun  bool `json:"dry_run"`
	Applied bool `json:"applied"`
	// ConfirmBefore is when the changes are taken back unless they are confirmed.
	ConfirmBefore time.Time `json:"confirm_before,omitzero"`
}

func (o *applyOptions) run(cmd *cobra.Command, args []string) error {
	if parent, detached := daemon.Detached(); detached {
		return guard(parent)
	}
	out, notes := cmd.OutOrStdout(), cmd.ErrOrStderr()
	switch {
	case o.confirmed:
		return confirmPending(out)
	case o.rollback:
		return rollbackPending(out)
	}
	o.online, o.tableOnly = true, true
	l, err := o.load(cmd, args)
	if err != nil {
		return err
	}
	if err := refuseErrors(notes, l); err != nil {
		return err
	}
	k, err := kernel.Open(kernel.ModprobeStderr(os.Stderr))
	if err != nil {
		return err
	}
	defer k.Close()
	if o.dryRun {
		have, err := k.Read()
		if err != nil {
			return err
		}
		return o.report(out, notes, planFor(l.Site, have, o.prune), time.Time{})
	}
	return withPending(func(f *pendingFile) error {
		have, err := k.Read()
		if err != nil {
			return err
		}
		p := planFor(l.Site, have, o.prune)
		warnOfDaemons(cmd.Context(), notes, p.changes)
		if o.confirm == 0 || len(p.changes) == 0 {
			if err := makeSo(k, p.have, p.changes); err != nil {
				return err
			}
			return o.report(out, notes, p, time.Time{})
		}
		return o.underGuard(cmd, f, k, p)
	})
}

// report says what was done, or would be.
func (o *applyOptions) report(out, notes io.Writer, p plan, before time.Time) error {
	a := applyAnswer{p.answer(), o.dryRun, !o.dryRun && len(p.changes) > 0, before}
	err := o.sayAsIs(out, a, func(w io.Writer) {
		p.print(w, onColour())
		if len(p.changes) == 0 {
			fmt.Fprintln(w, "nothing to do: the table is as the files want it")
		}
	})
	p.note(notes)
	return err
}

// makeSo makes the changes, all or none: when one is refused those made before
// it are taken back. What is removed is removed when all else stands.
func makeSo(k lvs.Kernel, have lvs.Table, changes []lvs.Change) error {
	goes := slices.IndexFunc(changes, func(c lvs.Change) bool {
		return c.Op == lvs.DeleteService || c.Op == lvs.DeleteDestination
	})
	if goes < 0 {
		goes = len(changes)
	}
	reached, err := lvs.Apply(k, have, changes[:goes])
	if err == nil {
		reached, err = lvs.Apply(k, reached, changes[goes:])
	}
	if err == nil {
		return nil
	}
	back := lvs.Diff(reached, have, touched(changes))
	if _, again := lvs.Apply(k, reached, back); again != nil {
		return fmt.Errorf("the kernel refuses a change: %w; and taking back the others failed too: %w; lvsctl diff shows what is left to do", err, again)
	}
	if len(back) == 0 {
		return fmt.Errorf("the kernel refuses a change: %w; no other was made", err)
	}
	return fmt.Errorf("the kernel refuses a change: %w; the others were taken back, and the table is as it was", err)
}

// touched tells which services are the changes'.
func touched(changes []lvs.Change) func(lvs.Key) bool {
	keys := map[lvs.Key]bool{}
	for _, c := range changes {
		keys[c.Service.Key] = true
	}
	return func(k lvs.Key) bool { return keys[k] }
}

// warnOfDaemons: a daemon that has a service of its own takes changes of it back.
func warnOfDaemons(ctx context.Context, notes io.Writer, changes []lvs.Change) {
	for _, name := range running() {
		ctx, cancel := context.WithTimeout(ctx, askPatience)
		st, err := askStatus(ctx, daemon.NewClient(socketOf(name)))
		cancel()
		if err != nil {
			continue // it has ended, or is one without services
		}
		for _, v := range st.Virtuals {
			if slices.ContainsFunc(changes, func(c lvs.Change) bool { return c.Service.Key.String() == v.Service }) {
				fmt.Fprintf(notes, "lvsctl: %s is a service of the running daemon %s, which has the last word about it; edit %s and lvsctl reload --name %s\n", v.Service, name, st.File, name)
			}
		}
	}
}
