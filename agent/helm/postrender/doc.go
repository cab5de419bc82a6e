// Package postrender changes what a chart has rendered, as a HelmRelease says:
// spec.postRenderers in order, each with its patches first and then its images;
// then spec.commonMetadata; then the labels that tell whose the objects are.
//
// It promises to read nothing but what it is given: kustomize runs on files in
// memory, without plugins. It never puts a text that was rendered into an error:
// it may be a Secret's.
package postrender
