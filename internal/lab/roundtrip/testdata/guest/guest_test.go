package guest

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/internal/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }

func TestPure(t *testing.T) {}

func TestLab(t *testing.T) {
	lab.Need(t)
	fmt.Println("in a lab, for", covered(1))
}

func TestBytes(t *testing.T) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	os.Stdout.Write(all)
	fmt.Fprint(os.Stderr, "this is stderr\n")
}

func TestFlood(t *testing.T) {
	line := make([]byte, 1<<16)
	for i := range line {
		line[i] = 'x'
	}
	for range 16 {
		os.Stdout.Write(line)
	}
}

func TestWritesHere(t *testing.T) {
	lab.Need(t)
	if err := os.WriteFile("written", []byte("by the guest"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("/etc/lvsctl-lab-was-here", nil, 0o666); err != nil {
		t.Log(err)
	}
}

func TestFails(t *testing.T) {
	if os.Getenv("FAIL") != "" {
		t.Fatal("as told")
	}
}

func TestExits(t *testing.T) {
	if os.Getenv("EXIT") != "" {
		os.Exit(7)
	}
}

func TestHangs(t *testing.T) {
	if os.Getenv("HANG") != "" {
		fmt.Println("hanging")
		time.Sleep(time.Hour)
	}
}

func TestPanics(t *testing.T) {
	if os.Getenv("CRASH") != "" {
		if err := os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0); err != nil {
			t.Fatal(err)
		}
	}
}
