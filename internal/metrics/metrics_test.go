package metrics

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/lvsctl/lvsctl/appliance"
	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/lvs"
	"github.com/lvsctl/lvsctl/vrrp"
)

// busy is a host of which there is something to say for every name.
func busy() *Host {
	at := time.Unix(1700000000, 500e6)
	one, two := uint32(1), uint32(2)
	service := lvs.Service{Key: lvs.At(lvs.TCP, netip.MustParseAddrPort("10.0.0.1:80")), Scheduler: "wrr"}
	return &Host{
		Version: "v1.2.3", TableRead: true,
		Table: lvs.State{{
			Service: service, Stats: lvs.Stats{Conns: 10, InPkts: 20, OutPkts: 30, InBytes: 40, OutBytes: 50},
			Destinations: []lvs.DestinationState{{
				Destination: lvs.Destination{Addr: netip.MustParseAddrPort("10.0.0.11:80"), Weight: 2}, Active: 3, Inactive: 4, Persistent: 5,
				Stats: lvs.Stats{Conns: 1, InPkts: 2, OutPkts: 3, InBytes: 4, OutBytes: 1 << 40},
			}},
		}},
		Daemons: []Daemon{{Name: "dead"}, {
			Name: "lvsctl", Up: true, Kind: "lvsctl", File: "/etc/lvsctl", FileRefused: true,
			Sync: []appliance.SyncStatus{{Role: "master", Interface: "eth1"}, {Role: "backup", Interface: "eth1", Error: "refused"}},
			Snapshot: ldirector.Snapshot{
				Phase: ldirector.Running, Looked: at, Refused: []string{"-A -t 10.0.0.9:80"},
				Virtuals: []ldirector.VirtualStatus{{
					Service: "TCP 10.0.0.1:80", Name: "shop", State: "serving", Open: true, InKernel: true, Strength: 2, Quorum: 1,
					Strangers: []ldirector.MemberStatus{{Server: "10.0.0.99:80"}},
					Members: []ldirector.MemberStatus{
						{Server: "10.0.0.11:80", Standing: ldirector.Serving, Since: at, Want: &two, Kernel: &one, Drift: "its weight was edited by somebody",
							Checks: []ldirector.CheckStatus{{ID: "http :80", Health: "up", Last: []ldirector.CheckResult{{Took: 9}, {Took: 0.25}}}}},
						{Server: "10.0.0.12:80", Standing: ldirector.Failed, Since: at,
							Checks: []ldirector.CheckStatus{{ID: "http :80", Health: "down", Fails: 7}, {ID: "connect", Health: "unknown"}}},
					},
				}},
			},
			Instances: []appliance.InstanceStatus{{
				Name: "VI_1", Interface: "eth0", VRID: 51, State: "MASTER", Since: at, Mode: "takeover", Priority: 150,
				Addresses:  []string{"10.0.0.1/32 dev eth0", "10.1.0.1/24 dev eth1 label eth1:1", "10.2.0.1 peer 10.2.0.2/32 dev ppp0"},
				Holders:    []appliance.HolderStatus{{Name: "addresses", Taken: true}, {Name: "sync", Error: "refused"}},
				Resources:  []appliance.ResourceStatus{{Name: "httpd", State: "running"}, {Name: "ftp", State: "failed"}},
				Tracked:    []appliance.TrackStatus{{Name: "eth1", Health: "up"}, {Name: "chk", Health: "down"}, {Name: "new", Health: "unknown"}},
				Duplicates: []appliance.Duplicate{{}}, Foreign: []appliance.Foreign{{}, {}}, Removed: 3,
				Counters: appliance.Counters{
					AdvertsSent: 1, AdvertsReceived: 2, StopsSent: 3, StopsReceived: 4, BecameMaster: 5, ReleasedMaster: 6,
					Dropped: map[string]uint64{
						vrrp.BadLength.Error(): 11, vrrp.BadTTL.Error(): 12, vrrp.BadInterval.Error(): 13, vrrp.BadType.Error(): 14,
						vrrp.BadAddrs.Error(): 15, vrrp.BadAuthType.Error(): 16, vrrp.BadPassword.Error(): 17, vrrp.BadChecksum.Error(): 18,
					},
				},
			}},
		}},
	}
}

func text(t *testing.T, h *Host) string {
	t.Helper()
	var b bytes.Buffer
	if err := h.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestText(t *testing.T) {
	got, golden := text(t, busy()), "testdata/busy.prom"
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Error(diff)
	}
	for _, def := range Catalogue() {
		if !strings.Contains(got, "\n"+def.Name) {
			t.Errorf("nothing is said of %s", def.Name)
		}
	}
}

// A host of which nothing is known says so, and nothing else.
func TestNothingKnown(t *testing.T) {
	got := regexp.MustCompile(`(?m)^#.*\n`).ReplaceAllString(text(t, &Host{Version: "v1"}), "")
	if want := "lvsctl_build_info{version=\"v1\"} 1\nlvsctl_table_read 0\nkeepalived_up 0\n"; got != want {
		t.Errorf("it says\n%s", got)
	}
}

// Every page is one that Prometheus' own parser takes, whatever names are in it,
// and no figure is there twice.
func FuzzText(f *testing.F) {
	f.Add("VI_1", "shop")
	f.Add("a\"b\\c\nd", "\xff\x00}")
	f.Fuzz(func(t *testing.T, instance, name string) {
		h := busy()
		h.Daemons[1].Instances[0].Name, h.Daemons[1].Virtuals[0].Name = instance, name
		h.Daemons = append(h.Daemons, h.Daemons[1])
		h.Daemons[2].Name = name
		p := expfmt.NewTextParser(model.UTF8Validation)
		families, err := p.TextToMetricFamilies(strings.NewReader(text(t, h)))
		if err != nil {
			t.Fatal(err)
		}
		for name, family := range families {
			seen := map[string]bool{}
			for _, m := range family.GetMetric() {
				var labels []string
				for _, l := range m.GetLabel() {
					labels = append(labels, l.GetName()+"\x00"+l.GetValue())
				}
				if key := strings.Join(labels, "\x00"); seen[key] {
					t.Errorf("%s: %q is there twice", name, labels)
				} else {
					seen[key] = true
				}
			}
		}
		router := families["keepalived_become_master_total"].GetMetric()
		if want := strings.ToValidUTF8(instance, "\uFFFD"); len(router) != 1 || router[0].GetLabel()[0].GetValue() != want {
			t.Errorf("the instance %q is %v", instance, router)
		}
	})
}

func TestWriterThatFails(t *testing.T) {
	if err := busy().Write(broken{}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the error is %v", err)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, os.ErrClosed }

// The page for people lists the same names, types and labels.
func TestPageAndCatalogueAgree(t *testing.T) {
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| (gauge|counter) \\| ([^|]*) \\|").FindAllStringSubmatch(string(page), -1) {
		rows = append(rows, row[1]+" "+row[2]+" "+strings.ReplaceAll(row[3], "`", ""))
	}
	for _, def := range Catalogue() {
		want := def.Name + " " + string(def.Kind) + " " + strings.Join(def.Labels, ", ")
		if i := slices.Index(rows, want); i >= 0 {
			rows = slices.Delete(rows, i, i+1)
		} else {
			t.Errorf("the page does not have %s", want)
		}
	}
	if len(rows) > 0 {
		t.Errorf("the page has %q, and nobody counts that", rows)
	}
}
