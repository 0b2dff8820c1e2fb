package dialects

import (
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// detectLines is how much of a file is looked at to tell its dialect.
const detectLines = 400

// detect tells a file's dialect by its content: that which most of its lines
// belong to. "" says that it cannot be told.
func detect(t text) string {
	counts := make([]int, len(table()))
	seen := 0
	for line := range strings.Lines(string(t.data)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' && !strings.HasPrefix(line, "#!") || line[0] == '!' {
			continue
		}
		if seen++; seen > detectLines {
			break
		}
		words := strings.Fields(line)
		for i, d := range table() {
			if d.marks(line, words) {
				counts[i]++
			}
		}
	}
	best := slices.Max(counts)
	if best == 0 {
		return byName(t.name)
	}
	return table()[slices.Index(counts, best)].name
}

// byName serves where the content says nothing, as in an empty file.
func byName(name string) string {
	switch base := filepath.Base(name); {
	case base == haCf, base == haresources, base == authkeys:
		return base
	case strings.HasPrefix(base, "keepalived"):
		return "keepalived"
	case strings.HasSuffix(base, ".cf"):
		return "ldirectord"
	case strings.HasSuffix(base, ".rules"):
		return "rules"
	}
	return ""
}

func marksRules(line string, words []string) bool {
	if strings.HasPrefix(line, "#!") || path.Base(words[0]) == "ipvsadm" {
		return true
	}
	return len(words[0]) >= 2 && words[0][0] == '-' && strings.ContainsRune("AaEeDdCZ-", rune(words[0][1]))
}

// marksLdirectord: name=value is a shell script's form too, so the name counts.
func marksLdirectord(line string, _ []string) bool {
	name, _, ok := strings.Cut(line, "=")
	name = strings.TrimSpace(name)
	return ok && name != "" && strings.ToLower(name) == name && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz6") == ""
}

var keepalivedWords = []string{"global_defs", "vrrp_instance", "vrrp_script", "vrrp_sync_group", "virtual_server", "virtual_server_group",
	"real_server", "virtual_ipaddress", "authentication", "track_script", "TCP_CHECK", "HTTP_GET", "SSL_GET", "MISC_CHECK", "SMTP_CHECK",
	"state", "interface", "virtual_router_id", "priority", "advert_int", "auth_type", "auth_pass", "delay_loop", "lb_algo", "lb_kind",
	"protocol", "weight", "connect_timeout", "router_id", "persistence_timeout", "notification_email", "include", "lvs_sched", "lvs_method"}

// marksKeepalived: words that only this language has, and braces.
func marksKeepalived(line string, words []string) bool {
	first := strings.TrimRight(words[0], "{")
	return slices.Contains(keepalivedWords, first) || line == "}" || line == "{" || strings.HasSuffix(line, "{") && !strings.Contains(line, "=")
}

var haCfWords = []string{"keepalive", "deadtime", "warntime", "initdead", "udpport", "bcast", "mcast", "ucast", "auto_failback",
	"node", "ping", "ping_group", "respawn", "apiauth", "debugfile", "logfile", "logfacility", "serial", "baud", "watchdog",
	"stonith", "stonith_host", "deadping", "crm", "pacemaker", "use_logd", "debug"}

func marksHaCf(line string, words []string) bool {
	return len(words) > 1 && slices.Contains(haCfWords, words[0]) && !strings.Contains(line, "{")
}

// marksHaresources: a node, and then at least one resource that looks like it.
func marksHaresources(line string, words []string) bool {
	if len(words) < 2 || strings.ContainsAny(line, "{}=") || marksHaCf(line, words) || marksAuthkeys(line, words) {
		return false
	}
	return slices.ContainsFunc(words[1:], func(w string) bool {
		host, _, _ := strings.Cut(w, "/")
		return strings.Contains(w, "::") || strings.Count(host, ".") == 3 && strings.Trim(host, "0123456789.") == ""
	})
}

func marksAuthkeys(_ string, words []string) bool {
	isNumber := func(s string) bool { return strings.Trim(s, "0123456789") == "" }
	switch {
	case len(words) == 2 && words[0] == "auth" && isNumber(words[1]):
		return true
	case len(words) < 2 || !isNumber(words[0]):
		return false
	}
	return slices.Contains([]string{"crc", "md5", "sha1"}, strings.ToLower(words[1]))
}
