package testenv

import (
	"net/http"
	"net/url"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
)

// target is what a request to an API server is about, as its method and its
// URL say.
type target struct {
	Verb        string // get, list, watch, create, update, patch, delete, deletecollection; of other paths the method
	APIGroup    string // empty for the core group
	Resource    string // plural; empty for paths that are no resources, as /readyz
	Subresource string
	Namespace   string
	Name        string
}

// parseTarget reads
//
//	/api/VERSION/… and /apis/GROUP/VERSION/…, followed by
//	[namespaces/NAMESPACE/]RESOURCE[/NAME[/SUBRESOURCE]]
//
// and takes namespaces themselves for what they are.
func parseTarget(method string, address *url.URL) target {
	t := target{Verb: strings.ToLower(method)}
	segments := strings.Split(strings.Trim(address.Path, "/"), "/")
	switch {
	case segments[0] == "api" && len(segments) > 2:
		segments = segments[2:]
	case segments[0] == "apis" && len(segments) > 3:
		t.APIGroup, segments = segments[1], segments[3:]
	default:
		return t
	}
	if segments[0] == "namespaces" && len(segments) > 1 {
		t.Namespace = segments[1]
		if len(segments) > 2 && segments[2] != "status" && segments[2] != "finalize" {
			segments = segments[2:]
		}
	}
	segments = append(segments, "", "") // what is not there is empty
	t.Resource, t.Name, t.Subresource = segments[0], segments[1], segments[2]
	t.Verb = verb(method, t.Name, address.Query())
	return t
}

func verb(method, name string, query url.Values) string {
	switch method {
	case http.MethodGet, http.MethodHead:
		switch watch := query.Get("watch"); {
		case watch == "true" || watch == "1":
			return "watch"
		case name == "":
			return "list"
		}
		return "get"
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	case http.MethodDelete:
		if name == "" {
			return "deletecollection"
		}
		return "delete"
	}
	return strings.ToLower(method)
}

// writes tells whether such a request, unless it is a dry run, changes what
// the API server keeps. Questions that are asked by a POST do not.
func (t target) writes() bool {
	switch {
	case t.Resource == "", t.Subresource == "token":
		return false
	case t.APIGroup == authenticationv1.GroupName, t.APIGroup == authorizationv1.GroupName:
		return false
	}
	switch t.Verb {
	case "create", "update", "patch", "delete", "deletecollection":
		return true
	}
	return false
}

func (t target) isLease() bool {
	return t.APIGroup == coordinationv1.GroupName && t.Resource == "leases"
}

func (t target) isSecret() bool { return t.APIGroup == "" && t.Resource == "secrets" }
