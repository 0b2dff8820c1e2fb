package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lvsctl/lvsctl/config"
	"github.com/lvsctl/lvsctl/config/dialects"
)

const (
	slipRouter  = "vrrp_instance VI_1 {\n\tinterface eth0\n\tvirtual_router_id 51\n\tpriority 150\n\tvirtual_ipaddress {\n\t\t10.9.9.9\n\t}\n}\n"
	slipService = "virtual_server 10.9.9.9 80 {\n\tlb_kind DR\n\treal_server 10.9.9.1 80 {\n\t}\n}\n"
	slipCf      = "virtual=10.9.9.9:80\n\treal=10.9.9.1:80 gate\n\tchecktype=off\n"
)

// TestSlips: what a daemon that runs does not take of files that it would start with.
func TestSlips(t *testing.T) {
	noise := make([]byte, 3000)
	r := rand.New(rand.NewPCG(5, 1))
	for i := range noise {
		noise[i] = byte(r.UintN(256))
	}
	for _, tt := range []struct{ name, wasKa, isKa, wasCf, isCf, want string }{
		{"the same", slipRouter, slipRouter, slipCf, slipCf, ""},
		{"an emptied keepalived.conf", slipRouter, "", slipCf, slipCf, "no virtual router in it, while 1 are in force"},
		{"an emptied one of services", slipService, "! nothing\n", "", "", "no virtual service in it, while 1 are in force"},
		{"one of both", slipRouter + slipService, "global_defs {\n}\n", "", "", "no virtual router and no virtual service in it, while 2 are in force"},
		{"noise", slipRouter, string(noise), slipCf, slipCf, "no virtual router in it"},
		{"an emptied ldirectord.cf", slipRouter, slipRouter, slipCf, "", "no virtual service in it, while 1 are in force"},
		{"services that leave, and the router stays", slipRouter + slipService, slipRouter, "", "", ""},
		{"a router that leaves, and the services stay", slipRouter + slipService, slipService, "", "", ""},
		{"the router misspelled", slipRouter + slipService, strings.Replace(slipRouter, "vrrp_instance", "vrrp_instnace", 1) + slipService, "", "", "Unknown keyword 'vrrp_instnace'"},
		{"a new word misspelled", slipRouter, strings.Replace(slipRouter, "priority", "priorty", 1), "", "", "Unknown keyword 'priorty'"},
		{"a number that is none", slipRouter, strings.Replace(slipRouter, "priority 150", "priority 15o", 1), "", "", "15o"},
		{"a weight out of range", slipService, strings.Replace(slipService, "lb_kind DR", "weight 0", 1), "", "", "weight 0 is outside range"},
		{"what keepalived only remarks upon", slipRouter, strings.Replace(slipRouter, "\tvirtual_ipaddress", "\tvirtual_routes {\n\t\t10.98.0.0/24 via 10.9.9.1\n\t}\n\tnotify_master /etc/up.sh\n\tvirtual_ipaddress", 1), "", "", ""},
		{"one that was misspelled before", strings.Replace(slipRouter, "priority", "priorty", 1), "\n\n" + strings.Replace(slipRouter, "priority", "priorty", 1), "", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			load := func(ka, cf string) *dialects.Loaded {
				t.Helper()
				for name, text := range map[string]string{"keepalived.conf": ka, "web.cf": cf} {
					if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				l, err := dialects.Load(t.Context(), []string{filepath.Join(dir, "keepalived.conf"), filepath.Join(dir, "web.cf")}, dialects.Options{})
				if err != nil {
					t.Fatal(err)
				}
				return l
			}
			got := fmt.Sprint(slips(load(tt.wasKa, tt.wasCf), load(tt.isKa, tt.isCf)))
			if tt.want == "" && got != "[]" || !strings.Contains(got, tt.want) {
				t.Errorf("%s, want %q", got, tt.want)
			}
		})
	}
}

// TestSlipsAreErrors: a reload stops at them.
func TestSlipsAreErrors(t *testing.T) {
	for _, ps := range [][]config.Problem{nothingIn("f", 1, 0), newMistakes("f", nil, []string{"(f: Line 1) Unknown keyword 'x'"})} {
		if !config.Errors(ps) {
			t.Errorf("%v", ps)
		}
	}
}
