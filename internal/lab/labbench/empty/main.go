// Empty is the least that a Go program can be: what it costs to start, nobody
// who writes in Go can save.
package main

func main() {}
