package main

import (
	"cmp"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/lvsctl/lvsctl/appliance"
	"github.com/lvsctl/lvsctl/doctor"
	"github.com/lvsctl/lvsctl/ldirector"
	"github.com/lvsctl/lvsctl/realserver"
)

// described are the types behind the tables of docs/control-socket.md, by heading.
var described = map[string]any{
	"Status": statusAnswer{}, "Refused file": refusedFile{}, "Problem": fileProblem{},
	"Virtual service": ldirector.VirtualStatus{}, "Member": ldirector.MemberStatus{}, "Connections": ldirector.Connections{},
	"Drain status": ldirector.DrainStatus{}, "Check": ldirector.CheckStatus{}, "Result": ldirector.CheckResult{},
	"Instance": appliance.InstanceStatus{}, "Holder": appliance.HolderStatus{}, "Resource": appliance.ResourceStatus{},
	"Tracked": appliance.TrackStatus{}, "Duplicate": appliance.Duplicate{}, "Foreign router": appliance.Foreign{}, "Counters": appliance.Counters{}, "Sync": appliance.SyncStatus{},
	"Events": eventsAnswer{}, "Event": eventAnswer{},
	"Drain": drainRequest{}, "Reload": reloadAnswer{}, "Instances": modeRequest{},
	"Heartbeat": hbCluster{}, "Group": hbGroup{},
}

// answers are the types behind the tables of docs/json.md.
var answers = map[string]any{
	"Validate": validateAnswer{}, "File": fileJSON{}, "Problem": problemJSON{}, "Diff": diffAnswer{}, "Change": changeJSON{}, "Apply": applyAnswer{},
	"Why and drain": serversAnswer{}, "Found server": found{}, "Instances of a daemon": instancesAnswer{}, "Heartbeat status": hbStatus{},
	"Real server: up and down": stepsAnswer{}, "Real server's finding": realserver.Finding{}, "Real server: status and check": lookAnswer{},
	"Setup": realserver.Status{}, "VIP": realserver.VIPStatus{}, "Setting": realserver.Setting{},
	"Doctor": doctorAnswer{}, "Finding": doctor.Finding{}, "Probe": doctor.Probe{}, "Who answers": doctor.Who{}, "Advert": advertAnswer{}, "Hop": doctor.Hop{},
	"Links": linksAnswer{}, "Link": link{}, "Version": versionAnswer{},
}

func TestControlSocketPage(t *testing.T) {
	text := pageHas(t, "../../docs/control-socket.md", described)
	for _, typ := range reachable(reflect.TypeOf(statusAnswer{}), map[reflect.Type]bool{}) {
		if !onPage(typ, described) {
			t.Errorf("%v is in the status and not on the page", typ)
		}
	}
	for kind := ldirector.Kind(1); !strings.HasPrefix(kind.String(), "event "); kind++ {
		if !strings.Contains(string(text), "`"+kind.String()+"`") {
			t.Errorf("event kind %v is not on the page", kind)
		}
	}
}

func TestJSONPage(t *testing.T) {
	pageHas(t, "../../docs/json.md", answers)
	seen := map[reflect.Type]bool{}
	for _, answer := range answers {
		for _, typ := range reachable(reflect.TypeOf(answer), seen) {
			if !onPage(typ, answers) && !onPage(typ, described) {
				t.Errorf("%v is in an answer and on no page", typ)
			}
		}
	}
}

func onPage(typ reflect.Type, tables map[string]any) bool {
	return slices.ContainsFunc(slices.Collect(maps.Values(tables)), func(v any) bool { return reflect.TypeOf(v) == typ })
}

// pageHas compares the tables of a page with the types behind them. People write
// programs against the page: it has each key that we send, says of each whether it
// can be missing, and no other.
func pageHas(t *testing.T, page string, tables map[string]any) []byte {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for heading, what := range tables {
		section := regexp.MustCompile(`(?m)^##+ ` + heading + `\n\n(?:[^|#]*\n\n)?((?:\|.*\n)+)`).FindSubmatch(text)
		if section == nil {
			t.Errorf("%s: no such table", heading)
			continue
		}
		page, code := keysOnPage(string(section[1])), keysInCode(reflect.TypeOf(what))
		if p, c := slices.Sorted(maps.Keys(page)), slices.Sorted(maps.Keys(code)); !slices.Equal(p, c) {
			t.Errorf("%s: the page has %q\nthe code %q", heading, p, c)
			continue
		}
		for key, optional := range code {
			if optional && !page[key] {
				t.Errorf("%s: %s can be missing, and the page does not say so", heading, key)
			}
		}
	}
	return text
}

// keysOnPage are the keys of a table, and whether it calls them optional.
func keysOnPage(table string) map[string]bool {
	keys := map[string]bool{}
	for _, row := range strings.Split(table, "\n") {
		cells := strings.Split(row, "|")
		if len(cells) < 4 {
			continue
		}
		for _, key := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(cells[1], -1) {
			keys[key[1]] = strings.Contains(cells[2], "*opt*")
		}
	}
	return keys
}

// keysInCode are the keys of a struct in JSON, and whether they can be missing.
func keysInCode(typ reflect.Type) map[string]bool {
	keys := map[string]bool{}
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			maps.Copy(keys, keysInCode(f.Type))
		case f.IsExported() && name != "-":
			keys[cmp.Or(name, f.Name)] = strings.HasPrefix(options, "omit")
		}
	}
	return keys
}

// reachable are the structs of ours that a value can hold in JSON.
func reachable(typ reflect.Type, seen map[reflect.Type]bool) []reflect.Type {
	switch typ.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return reachable(typ.Elem(), seen)
	case reflect.Struct:
	default:
		return nil
	}
	if seen[typ] || !strings.Contains(typ.PkgPath(), "lvsctl") && typ.PkgPath() != "main" {
		return nil
	}
	seen[typ] = true
	found := []reflect.Type{typ}
	for i := range typ.NumField() {
		f := typ.Field(i)
		if f.Tag.Get("json") == "-" {
			continue
		}
		inside := reachable(f.Type, seen)
		if f.Anonymous && len(inside) > 0 {
			inside = inside[1:] // its keys are on the table of the one that embeds it
		}
		found = append(found, inside...)
	}
	return found
}
