package netif

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestManagers(t *testing.T) {
	run := t.TempDir()
	for name, text := range map[string]string{
		"systemd/netif/links/2":    "# This is private data.\nADMIN_STATE=configured\nNETWORK_FILE=/etc/systemd/network/10-lan.network\nNETWORK_FILE_DROPINS=\"/etc/a.conf:/etc/b.conf\"\n",
		"systemd/netif/links/3":    "ADMIN_STATE=unmanaged\n",
		"NetworkManager/devices/3": "[device]\nmanaged=true\nconnection-uuid=x\n",
		"NetworkManager/devices/4": "[device]\nmanaged=false\n",
	} {
		path := filepath.Join(run, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for index, want := range map[int]string{2: "systemd-networkd", 3: "NetworkManager", 4: "", 5: ""} {
		var names []string
		for _, m := range Managers(run, index) {
			names = append(names, m.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("link %d: %q, want %q", index, got, want)
		}
	}
	networkd := Managers(run, 2)[0]
	if networkd.File != "/etc/systemd/network/10-lan.network" || !slices.Equal(networkd.DropIns, []string{"/etc/a.conf", "/etc/b.conf"}) {
		t.Errorf("%+v", networkd)
	}
	if got := strings.Join(networkd.LeaveAlone("eth0"), "; "); !strings.Contains(got, "/etc/systemd/network/10-lan.network.d/keep.conf") {
		t.Error(got)
	}
	if got := strings.Join(Manager{Name: "systemd-networkd"}.LeaveAlone("eth0"), "; "); !strings.Contains(got, "eth0.network.d") {
		t.Error(got)
	}
	if got := strings.Join(Managers(run, 3)[0].LeaveAlone("eth0"), "; "); !strings.Contains(got, "unmanaged-devices+=interface-name:eth0") {
		t.Error(got)
	}
}
