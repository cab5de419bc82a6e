package automation

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/types"

	imagev1 "github.com/headwater-dev/headwater/api/image/v1"
)

// run fills in a template, for changes of three values.
func run(t *testing.T, template string) (string, error) {
	t.Helper()
	web := ObjectIdentifier{APIVersion: "apps/v1", Kind: "Deployment", Name: "web", Namespace: "prod"}
	job := ObjectIdentifier{APIVersion: "batch/v1", Kind: "Job", Name: "job"}
	app := imagev1.ImageRef{Name: "registry.example.com/team/app", Tag: "2.0.0"}
	nginx := imagev1.ImageRef{Name: "nginx", Tag: "1.28", Digest: "sha256:0123"}
	spec := imagev1.CommitSpec{MessageTemplate: template, MessageTemplateValues: map[string]string{"cluster": "prod"}}
	return message(t.Context(), spec, types.NamespacedName{Namespace: "team", Name: "update"}, map[string][]Change{
		"a.yaml": {
			{OldValue: "registry.example.com/team/app:1.0.0", NewValue: app.String(), Setter: "team:app", image: app, object: web},
			{OldValue: "1.27", NewValue: "1.28", Setter: "team:nginx:tag", image: nginx, object: web},
		},
		"b.yaml": {{OldValue: "1.27", NewValue: "1.28", Setter: "team:nginx:tag", image: nginx, object: job}},
	})
}

func TestMessage(t *testing.T) {
	for _, tc := range []struct{ name, template, want string }{
		{"default", "", "Update from image update automation\n"},
		{"the document's", `Update image: {{range .Updated.Images}}{{println .}}{{end}}`, "Update image: nginx:1.28@sha256:0123\nregistry.example.com/team/app:2.0.0\n"},
		{"object and values", `{{.AutomationObject}} on {{.Values.cluster | upper}}`, "team/update on PROD\n"},
		{"changes", `{{range .Changed.Changes}}{{.OldValue}} to {{.NewValue}} by {{.Setter}};{{end}}`,
			"1.27 to 1.28 by team:nginx:tag;registry.example.com/team/app:1.0.0 to registry.example.com/team/app:2.0.0 by team:app;\n"},
		{"objects", `{{range $o, $c := .Changed.Objects}}{{$o.Kind}} {{$o.Namespace}} {{$o.Name}}: {{len $c}};{{end}}`, "Deployment prod web: 2;Job  job: 1;\n"},
		{"files", `{{range $f, $objects := .Changed.FileChanges}}{{$f}}:{{range $o, $c := $objects}} {{$o.Name}}{{end}};{{end}}`, "a.yaml: web;b.yaml: job;\n"},
		{"files, the old way", `{{range $f, $_ := .Updated.Files}}{{$f}};{{end}}{{range $o, $images := .Updated.Objects}}{{$o.Name}}{{range $images}} {{.Identifier}}{{end}};{{end}}`,
			"a.yaml;b.yaml;web sha256:0123 2.0.0;job sha256:0123;\n"},
		{"an image's parts", `{{range .Updated.Images}}{{.Registry}} {{.Repository}} {{.Name}} {{.Policy}};{{end}}`,
			"index.docker.io library/nginx index.docker.io/library/nginx:1.28@sha256:0123 team/nginx;registry.example.com team/app registry.example.com/team/app:2.0.0 team/app;\n"},
		{"sprig", `{{"a" | repeat 3}} {{list 1 2 | join "-"}} {{range until 2}}{{.}}{{end}}`, "aaa 1-2 01\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := NewWithT(t)
			got, err := run(t, tc.template)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(got).To(Equal(tc.want))
		})
	}
}

func TestMessageRefuses(t *testing.T) {
	for _, tc := range []struct{ name, template, want string }{
		{"what does not compile", `{{range}}`, "does not compile"},
		{"a function that reads the machine", `{{env "HOME"}}`, "does not compile"},
		{"a field that is not there", `{{.Nothing}}`, "Nothing"},
		{"a nil dereference", `{{index .Changed.Changes 100}}`, "index"},
		{"an empty message", `{{/* nothing */}}`, "empty message"},
		{"too long a message", `{{range until 10000}}{{repeat 1000 "x"}}{{end}}`, "longer than"},
		{"too many repeats", `{{repeat 2000000 "x"}}`, "at most"},
		{"too long a list", `{{until 100000000}}`, "at most"},
		{"a text that doubles", `{{$x := "a"}}{{range 40}}{{$x = print $x $x}}{{end}}`, "takes more than 64 MiB of memory"},
		{"a list of lists that doubles", `{{$x := list 1}}{{range 40}}{{$x = list $x $x}}{{end}}{{toJson $x}}`, "messageTemplate takes "},
		{"a value that holds itself", `{{$x := dict}}{{$_ := set $x "x" $x}}{{$x}}`, "takes more than 64 MiB of memory"},
		{"a template that calls itself", `{{define "x"}}{{template "x"}}{{end}}{{template "x"}}`, "messageTemplate"},
		{"too long a template", strings.Repeat("{{if 1}}{{end}}", 5000), "more than 65536 bytes"},
		{"a loop without end", `{{range 2000000000}}{{range 2000000000}}{{end}}{{end}}`, "messageTemplate takes "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := NewWithT(t)
			_, err := run(t, tc.template)
			g.Expect(err).To(MatchError(ContainSubstring(tc.want)))
			g.Expect(err).To(MatchError(ContainSubstring("spec.git.commit.messageTemplate")))
		})
	}
}
