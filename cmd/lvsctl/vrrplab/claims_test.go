package vrrplab

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/lvsctl/lvsctl/appliance"
	"github.com/lvsctl/lvsctl/internal/lab"
)

// TestLooseRealServer: a real server that does not hide the address has made a client
// believe that the address is there. The master tells the client otherwise, and says
// who it is.
func TestLooseRealServer(t *testing.T) {
	p := pairWith(t, 1)
	web, client := p.servers[0], p.client
	p.start(0)
	p.start(1)
	p.await("election", 0)
	at := func() string {
		// Any packet has the client look for the address, if it does not know it.
		client.Do(func() {
			c, err := net.Dial("udp4", vip+":9")
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			_, _ = c.Write([]byte("?")) // nobody listens there
		})
		return client.Run("ip", "neigh", "show", vip)
	}
	const director, server = "02:00:00:00:02:01", "02:00:00:00:04:01"
	lab.Eventually(t, patience, func() error {
		if got := at(); !strings.Contains(got, director) {
			return fmt.Errorf("the client finds %s at %q", vip, got)
		}
		return nil
	})
	web.Run("ip", "addr", "add", vip+"/32", "dev", "lo")
	ears := client.Capture("eth0")
	web.Do(func() {
		c, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.ParseIP(vip)}, &net.UDPAddr{IP: net.ParseIP("10.1.0.9"), Port: 9})
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		if _, err := c.Write([]byte("?")); err != nil {
			t.Error(err)
		}
	})
	ears.Await("ARP who-has 10.1.0.9 tell "+vip, patience)
	// What the client believes now is over as soon as it hears this.
	ears.Await("ARP announcement "+vip+" is-at "+director, patience)
	lab.Eventually(t, patience, func() error {
		if got := client.Run("ip", "neigh", "show", vip); !strings.Contains(got, director) {
			return fmt.Errorf("the client finds %s at %q", vip, got)
		}
		return nil
	})
	p.run[0].Await("duplicate VIP: "+vip+" is here, and on eth0 somebody says that it is at "+server, patience)
	p.until(0, "the status says so", func(s appliance.InstanceStatus) bool {
		return len(s.Duplicates) == 1 && len(s.Duplicates[0].MACs) == 1 && s.Duplicates[0].MACs[0] == server
	})
	time.Sleep(time.Second) // more than the pause between two answers
	if got := client.Run("ip", "neigh", "show", vip); !strings.Contains(got, director) {
		t.Errorf("the client finds %s at %q", vip, got)
	}
	if strings.Contains(p.run[1].Output(), "somebody says that it is at") {
		t.Error("the backup has something to say about it")
	}
}
