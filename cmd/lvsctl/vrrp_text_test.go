package main

import (
	"testing"

	"github.com/lvsctl/lvsctl/appliance"
)

func TestMasterWords(t *testing.T) {
	for want, s := range map[string]appliance.InstanceStatus{
		"here":                          {State: "MASTER", Master: "10.0.0.1"},
		"-":                             {State: "BACKUP"},
		"10.0.0.2 (150)":                {State: "BACKUP", Master: "10.0.0.2", MasterPriority: 150},
		"10.0.0.2 until it is our turn": {State: "BACKUP", Weaker: "10.0.0.2"},
	} {
		if got := masterWords(s); got != want {
			t.Errorf("%+v: %q, want %q", s, got, want)
		}
	}
}
