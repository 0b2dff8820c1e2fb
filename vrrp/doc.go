// Package vrrp moves addresses between machines: the Virtual Router Redundancy
// Protocol, version 2 (RFC 3768) and 3 (RFC 5798, RFC 9568), as keepalived speaks it.
//
// The protocol is a value. A [Machine] is one virtual router on this host: time
// and advertisements go in, and what has to be done comes out as a list of
// [Action]. It has no socket, no clock, no goroutine and no random number; its
// timers are points in time in its state, of which [Machine.Deadline] is the
// next. A [Router] is all the machines of a host, with the sync groups that tie
// some of them together. A [Speaker] is the loop around a Router: it owns it,
// asks what time it is, sends, and keeps what a master holds.
//
//	packet -> Decoder -> Advert -> Machine.Recv -> Action -> Transport.Send
//	time   ---------------------> Machine.Tick        \---> Holder.Take, Drop
//
// What is received is judged in one place, in the order that the specification
// gives, and a dropped advertisement changes nothing but a counter: it touches no
// timer. Accept_Mode (RFC 5798 section 6.1) is true for every instance, as a
// director has to answer on its virtual addresses.
package vrrp
