package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/lvsctl/lvsctl/appliance"
	dialect "github.com/lvsctl/lvsctl/config/keepalived"
	"github.com/lvsctl/lvsctl/internal/daemon"
	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/lvs/kernel"
	"github.com/lvsctl/lvsctl/vrrp"
)

// withoutMeaning names the settings of a file that ask for what one process cannot
// be given in parts.
func withoutMeaning(g dialect.Globals) []string {
	var out []string
	say := func(set bool, name, instead string) {
		if set {
			out = append(out, fmt.Sprintf("%s has no meaning here: %s", name, instead))
		}
	}
	const nice = "one process does all of it; Nice= of its systemd unit sets the priority"
	const realTime = "adverts are sent by a real-time thread anyway, where that is permitted"
	say(g.VRRPNice != 0, "vrrp_priority", nice)
	say(g.CheckerNice != 0, "checker_priority", nice)
	say(g.VRRPRealTime != 0, "vrrp_rt_priority", realTime)
	say(g.CheckerRealTime != 0, "checker_rt_priority", "checks take their turn with everybody else")
	say(g.Mail.Helo != "", "smtp_helo_name", "mail is sent by the host's name")
	say(g.ScriptSecurity, "enable_script_security", "whoever can write to a script is not looked at; programs run as script_user says")
	say(g.InitNotifies, "rs_init_notifies", "notify_up and notify_down run on changes only")
	return out
}

// moved is told of every transition, for those who want mail.
func (d *kaDaemon) moved(e appliance.Event) {
	g := d.globals.Load()
	if !g.SMTPAlert && !g.SMTPAlertVRRP {
		return
	}
	state := map[vrrp.State]string{vrrp.Master: "MASTER", vrrp.Backup: "BACKUP", vrrp.Fault: "FAULT"}[e.Transition.To]
	if state == "" {
		return
	}
	subject := fmt.Sprintf("VRRP Instance %s - Entering %s state", e.Instance, state)
	if e.Group != "" {
		subject = fmt.Sprintf("VRRP Group %s - Syncing instances to %s state", e.Group, state)
	}
	d.mail(g, subject, e.Text)
}

// changed is told of every event of a virtual service, for those who want mail.
func (d *kaDaemon) changed(e ldirector.Event) {
	g := d.globals.Load()
	if !g.SMTPAlert && !g.SMTPAlertChecker {
		return
	}
	switch e.Kind {
	case ldirector.CameUp, ldirector.WentDown:
		word := map[bool]string{true: "UP", false: "DOWN"}[e.Kind == ldirector.CameUp]
		d.mail(g, fmt.Sprintf("Realserver %s of virtual server %s - %s", kaServer(e), kaService(e), word), e.Text)
	case ldirector.ServesAgain:
		d.mail(g, fmt.Sprintf("Virtual server %s - UP", kaService(e)), e.Text)
	case ldirector.NobodyServes:
		d.mail(g, fmt.Sprintf("Virtual server %s - DOWN", kaService(e)), e.Text)
	}
}

func (d *kaDaemon) mail(g *dialect.Globals, subject, body string) {
	if len(g.Mail.To) == 0 || g.Mail.Server == "" {
		return
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	d.mailer.Send(daemon.Mail{
		From: g.Mail.From, To: g.Mail.To, SMTP: g.Mail.Server,
		Subject: "[" + cmp.Or(g.RouterID, host) + "] " + subject, Body: body + "\n",
	})
}

// flushing is the kernel's IPVS for a file with lvs_flush: what is not configured
// leaves the table when it is opened. What is configured stays, with its
// connections.
func flushing(virtuals []ldirector.Virtual) func() (appliance.IPVS, error) {
	return func() (appliance.IPVS, error) {
		k, err := openIPVS()
		if err != nil {
			return nil, err
		}
		return k, flush(k, virtuals)
	}
}

// flush removes the services that are not among the virtuals.
func flush(k lvs.Kernel, virtuals []ldirector.Virtual) error {
	have, err := k.Read()
	if err != nil {
		return err
	}
	stays := func(e lvs.Entry) bool {
		return slices.ContainsFunc(virtuals, func(v ldirector.Virtual) bool { return v.Service.Key == e.Key })
	}
	want := slices.DeleteFunc(slices.Clone(have), func(e lvs.Entry) bool { return !stays(e) })
	_, err = lvs.Apply(k, have, lvs.Diff(have, want, nil))
	return err
}

// flushAtStop is lvs_flush_on_stop.
func flushAtStop() error {
	k, err := kernel.Open()
	if err != nil {
		return err
	}
	return errors.Join(flush(k, nil), k.Close())
}
