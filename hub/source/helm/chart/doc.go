// Package chart reads and writes packages of Helm charts: what a chart is
// called, which files it has, values files merged into its defaults, and the
// package again.
//
// It promises that a package is unpacked within bounds, that no path in it
// leads out of it, and that the same files give the same package on every
// machine: entries in order, no times, no owners.
//
// It never loads subcharts or renders: a chart is its files here. Helm's own
// writer is not used, since it puts times into packages, and neither is its
// reader, which unpacks subcharts without a bound for all of them together.
package chart
