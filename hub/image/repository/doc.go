// Package repository reconciles ImageRepositories: it lists the tags of an image
// and keeps them for the ImagePolicies that choose among them.
//
// It promises that a scan which finds nothing new writes nothing, neither in the
// API nor on disk, and that what a registry answers is bounded: in bytes, in
// pages, and in tags.
package repository
