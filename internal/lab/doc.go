// Package lab gives tests a network of their own: hosts that are network
// namespaces, joined by links and bridges, in a kernel that has IPVS.
//
// # Where the tests run
//
// A test package hands itself over with one line:
//
//	func TestMain(m *testing.M) { lab.Main(m) }
//
// and plain "go test" then works on every machine: the package's own test binary
// runs again where there is a lab. As root on a kernel that has IPVS that is a
// process namespace of this machine, so that nothing outlives the tests. Elsewhere
// it is a User Mode Linux guest, a kernel that is an ordinary program and needs
// neither root nor KVM. Output, exit status, coverage, profiles and updated golden
// files come back as if nothing had happened.
//
// The guest sees this machine's files under a throw-away overlay: it may write
// everywhere, and nothing reaches this machine but the package's folder and the
// folders that go test itself named.
//
// On a machine that has neither, tests that call [New] or [Need] are reported as
// skipped, with a message that says how to get a lab; all others run.
//
// # Variables
//
//	LVSCTL_LAB=require   a test that needs a lab and has none fails (for CI)
//	LVSCTL_LAB=off       behave as if there was no lab
//	LVSCTL_LAB=uml       use a guest even where this kernel has IPVS
//	LVSCTL_UML=PATH      the User Mode Linux kernel, instead of linux.uml in PATH
//	LVSCTL_LAB_MEM=1G    memory of a guest
//	LVSCTL_LAB_RW=A:B    more folders that the guest may change
package lab
