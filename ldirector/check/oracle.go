package check

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// OracleProgram is the program that asks an Oracle database. Its driver is
// larger than all the rest of lvsctl, so it is packaged beside it.
const OracleProgram = "lvsctl-check-oracle"

// Oracle checks an Oracle database, through [OracleProgram].
type Oracle struct{ SQL }

// OracleQuestion is what [OracleProgram] reads, as JSON, from its input: a
// command line would show the password to everyone on the host.
type OracleQuestion struct {
	Addr     netip.AddrPort `json:"addr"`
	Login    string         `json:"login"`
	Password string         `json:"password"`
	SID      string         `json:"sid"`
	Query    string         `json:"query"`
	// Timeout is in milliseconds, from the start of the program.
	Timeout int64 `json:"timeout"`
}

func (p Oracle) runsProgram() bool { return true }

// Check implements [Probe].
func (p Oracle) Check(ctx context.Context, _ Net) error {
	if err := p.complete(); err != nil {
		return err
	}
	path, err := oraclePath()
	if err != nil {
		return err
	}
	x := begin(ctx, p.Addr.String())
	q, err := json.Marshal(OracleQuestion{p.Addr, p.Login, p.Password, p.Database, p.Query, x.patient.Milliseconds()})
	if err != nil {
		return local(err)
	}
	e, err := run(ctx, command{path: path, stdin: string(q)})
	switch {
	case err != nil:
		return local(fmt.Errorf("%s: %w", path, err))
	case e.killed:
		return x.failed("answer", context.DeadlineExceeded)
	case e.signal != 0 || e.status > 1:
		return local(fmt.Errorf("%s ends with status %d, signal %d%s", path, e.status, int(e.signal), said(e.output)))
	case e.status == 0:
		return nil
	}
	return x.wrong("%s", clip(strings.TrimSpace(e.output), 300))
}

// oraclePath looks beside ourselves first, so that the two are of one version.
func oraclePath() (string, error) {
	if self, err := os.Executable(); err == nil {
		path := filepath.Join(filepath.Dir(self), OracleProgram)
		if unix.Access(path, unix.X_OK) == nil {
			return path, nil
		}
	}
	path, err := exec.LookPath(OracleProgram)
	if err != nil {
		return "", &localFault{&reason{"checks of Oracle need the program " + OracleProgram +
			", beside lvsctl or in PATH: install the package of that name, or go install github.com/lvsctl/lvsctl/cmd/" + OracleProgram, errors.ErrUnsupported}}
	}
	return path, nil
}
