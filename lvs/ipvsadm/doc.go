// Package ipvsadm is the language of ipvsadm 1.31: its command line, its
// listings, its rules, and what it says when it refuses.
//
// A [Program] is one of the programs ipvsadm, ipvsadm-save and ipvsadm-restore;
// it does to a [Kernel] what a command line says, and answers in the peer's
// bytes and exit statuses. Scripts have read those for twenty years.
//
// The parts serve alone too: [Parse] turns words into a [Command], [Line] and
// [Save] print changes and tables as command lines, [ParseRules] reads them
// back, [Complete] completes a half-typed one.
//
// Two things are ours and change nothing of the above: a listing may be asked
// for as --json, and when IPVS or the right to use it is missing, a last line
// says how to get it.
package ipvsadm
