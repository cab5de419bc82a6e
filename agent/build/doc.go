// Package build runs kustomize in processes of its own.
//
// kustomize cannot be ended once it has read its files, ends its own process on some of
// them, and takes what memory they ask for; a tenant's files must not end the agent, or
// hold up others for hours. It also keeps the OpenAPI schema that a kustomization brings
// in variables of its process.
//
// A process has no environment, and no files but those that its order is for, which it
// asks this process for. Whatever becomes of it, the one build fails and no other. It is
// kept for the next build, and ended when there is none for a minute, or when it has seen
// a schema: no build sees another one's. If it is killed while it waits, another one
// takes its place.
package build
