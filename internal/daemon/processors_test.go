package daemon

import (
	"context"
	"runtime"
	"testing"
)

func TestProcessorsFollowTheLoad(t *testing.T) {
	for _, tt := range []struct {
		name    string
		n, most int
		load    float64
		want    int
	}{
		{"idle", 1, 8, 0, 1},
		{"a thousand plain checks a second", 1, 8, 0.1, 1},
		{"half busy stays", 1, 8, 0.5, 1},
		{"busy", 1, 8, 0.7, 2},
		{"busier", 2, 8, 1.9, 4},
		{"no more than there are", 4, 6, 4, 6},
		{"there is only one", 1, 1, 1, 1},
		{"calmer stays", 4, 8, 1, 4},
		{"calm", 4, 8, 0.5, 2},
		{"an odd number", 3, 3, 0.1, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := processors(tt.n, tt.most, tt.load); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

func TestProcessorsLeavesWhatTheUserSet(t *testing.T) {
	t.Setenv("GOMAXPROCS", "3")
	before := runtime.GOMAXPROCS(0)
	if err := Processors().Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	if after := runtime.GOMAXPROCS(0); after != before {
		t.Errorf("it runs on %d processors, and did on %d", after, before)
	}
}
