package netif

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// Manager is a program of the distribution that has taken a link, and may undo
// what others do to it.
type Manager struct {
	Name    string   // "systemd-networkd", "NetworkManager"
	File    string   // that says how the link should be, where that is known
	DropIns []string // and what adds to it
}

// Managers are those of a link, from the notes that they keep below run, which is
// "/run". A link that they do not mention is nobody's.
func Managers(run string, index int) []Manager {
	var all []Manager
	number := strconv.Itoa(index)
	if notes, err := os.ReadFile(filepath.Join(run, "systemd/netif/links", number)); err == nil {
		k := keys(notes)
		if state := k["ADMIN_STATE"]; state != "unmanaged" && state != "" {
			all = append(all, Manager{Name: "systemd-networkd", File: k["NETWORK_FILE"],
				DropIns: strings.FieldsFunc(k["NETWORK_FILE_DROPINS"], func(r rune) bool { return r == ':' || r == ' ' || r == '"' })})
		}
	}
	if notes, err := os.ReadFile(filepath.Join(run, "NetworkManager/devices", number)); err == nil && keys(notes)["managed"] != "false" {
		all = append(all, Manager{Name: "NetworkManager"})
	}
	return all
}

// keys reads lines of KEY=VALUE.
func keys(text []byte) map[string]string {
	keys := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			keys[key] = value
		}
	}
	return keys
}

// LeaveAlone are the commands after which it leaves alone what others do to a
// link. With networkd the link keeps its configuration, and what networkd finds on
// it; NetworkManager can only let go of it altogether.
func (m Manager) LeaveAlone(link string) []string {
	if m.Name == "NetworkManager" {
		const file = "/etc/NetworkManager/conf.d/90-lvsctl.conf"
		return []string{fmt.Sprintf(`printf '[keyfile]\nunmanaged-devices+=interface-name:%s\n' >>%s`, link, file), "nmcli general reload"}
	}
	unit := link + ".network"
	if m.File != "" {
		unit = path.Base(m.File)
	}
	folder := "/etc/systemd/network/" + unit + ".d"
	return []string{"mkdir -p " + folder, `printf '[Network]\nKeepConfiguration=static\n' >` + folder + "/keep.conf", "networkctl reload"}
}
