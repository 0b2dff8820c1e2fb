package appliance

import (
	"fmt"
	"strings"
	"time"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/internal/netif"
	"github.com/lvsctl/lvsctl/vrrp"
)

// defence is what an instance does about somebody who removes its addresses. Who
// does it once is answered at once; who does it again and again is a program, and
// the two must not do nothing else any more.
type defence struct {
	began time.Time // of the fight; zero: never
	last  time.Time // removal
	count int       // removals in this fight
	said  time.Time // when it was last told
	told  int       // removals until then
	tried time.Time // when it was last given up
	all   uint64    // removals since the instance began
}

const (
	// fightOver is the quiet after which the next removal is a first one again. It
	// is longer than lookEvery, the pace of a fight.
	fightOver = 30 * time.Second
	// answeredAtOnce is how many removals are; after that the addresses come back
	// with the next look.
	answeredAtOnce = 20
	// fightMost is how long a fight may last before the addresses are handed over.
	fightMost = time.Minute
	// meekTime is how long somebody else may have them then.
	meekTime = 5 * time.Minute
	// fightTold is the pause between two reports of a fight.
	fightTold = time.Minute
)

// response is the answer to a removal.
type response struct {
	say   bool // something about it
	first bool // of a fight
	since int  // removals since it was last told
	yield bool // hand over
}

// removed is told of a removal that is being answered.
func (d *defence) removed(now time.Time, policy config.OnRemoved) response {
	if d.began.IsZero() || now.Sub(d.last) > fightOver {
		*d = defence{began: now, tried: d.tried, all: d.all}
	}
	d.last = now
	d.count++
	d.all++
	r := response{first: d.count == 1}
	r.yield = policy == config.Yield || policy == config.Restore && d.lost(now)
	r.say = r.first || now.Sub(d.said) >= fightTold || r.yield && now.Sub(d.tried) >= fightTold
	if r.yield {
		d.tried = now
	}
	if r.say {
		r.since = d.count - d.told
		d.said, d.told = now, d.count
	}
	return r
}

// lost tells that the addresses do not stay, whatever is done.
func (d *defence) lost(now time.Time) bool {
	return now.Sub(d.began) >= fightMost && d.count >= answeredAtOnce/2 && (d.tried.IsZero() || now.Sub(d.tried) >= fightMost)
}

// atOnce tells whether the next removal is to be answered at once.
func (d *defence) atOnce(now time.Time) bool {
	return now.Sub(d.last) > fightOver || d.count < answeredAtOnce
}

// putBack answers removals. The events may be older than what the host is like now,
// so it is asked.
func (a *Appliance) putBack(names map[string]bool, always bool) {
	links := linkCache{host: a.o.Host, addrs: true}
	for r, k := range a.kept {
		if !names[r.name] || a.own[k.sends] == vrrp.Down {
			continue
		}
		d := a.defenceOf(r.name)
		if !always && !d.atOnce(time.Now()) {
			continue
		}
		stolen, fallen := k.addresses.missing(&links)
		if len(fallen) > 0 {
			a.warn(a.speaker.Retake(r.name))
		}
		policy := k.addresses.onRemoved()
		if len(stolen) == 0 {
			stolen, policy = k.localnode.missing(&links), config.Keep // a backup has nothing to hand over
		}
		if len(stolen) == 0 {
			continue
		}
		answer := d.removed(time.Now(), policy)
		if answer.say {
			a.reports.say(Warning, r.name, removedText(stolen, answer)+"; "+a.advice(&links, stolen[0].Link))
		}
		a.warn(a.speaker.Retake(r.name))
		if answer.yield {
			a.warn(a.speaker.Forfeit(r.name, "somebody else removes its addresses", meekTime))
		}
	}
}

func (a *Appliance) defenceOf(name string) *defence {
	if a.thefts[name] == nil {
		a.thefts[name] = &defence{}
	}
	return a.thefts[name]
}

func removedText(missing []netif.Addr, r response) string {
	what := fmt.Sprintf("VIP %v was removed from %s by somebody else", missing[0].Prefix, missing[0].Link)
	if n := len(missing); n > 1 {
		what = fmt.Sprintf("%d VIPs were removed by somebody else, %v on %s first", n, missing[0].Prefix, missing[0].Link)
	}
	if !r.first && r.since > 1 {
		what += fmt.Sprintf(", %d times since the last report", r.since)
	}
	switch {
	case r.yield && r.first:
		return what + "; handing over, as on_vip_removed says"
	case r.yield:
		return what + "; it does not stay, so it is handed over if somebody else is there"
	case !r.first:
		return fmt.Sprintf("%s; put back every %v", what, lookEvery)
	}
	return what + "; put back"
}

// advice is what to type so that it does not happen again.
func (a *Appliance) advice(links *linkCache, link string) string {
	var all []string
	for _, m := range a.o.Host.Managers(links.get(link).Index) {
		all = append(all, fmt.Sprintf("%s manages %s; type: %s", m.Name, link, strings.Join(m.LeaveAlone(link), " && ")))
	}
	if len(all) > 0 {
		return strings.Join(all, "; ")
	}
	return "no network manager has " + link + ", so look for a person or a script; to take a VIP away for good, type: lvsctl vrrp standby"
}

// putRoutesBack gives instances their routes back. The kernel tells of routes, too,
// but on a router of all the others as well; so this is left to the looks.
func (a *Appliance) putRoutesBack() {
	for r, k := range a.kept {
		missing, err := k.routes.missing()
		switch {
		case err != nil:
			a.reports.say(Warning, r.name, "looking at routes: "+err.Error())
		case len(missing) > 0:
			if now := time.Now(); k.routeSaid.IsZero() || now.Sub(k.routeSaid) >= fightTold {
				k.routeSaid = now
				a.reports.say(Warning, r.name, fmt.Sprintf("route to %v was removed by somebody else; put back", missing[0].Dst))
			}
			a.warn(a.speaker.Retake(r.name))
		}
	}
}
