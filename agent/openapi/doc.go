// Package openapi guards the OpenAPI schema that kustomize keeps in variables of
// the process: builds read it beside each other, except those that bring a schema
// of their own.
//
// It promises that no build sees another one's schema. It is a package because
// all kinds that run kustomize share the process.
package openapi
