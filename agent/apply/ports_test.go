package apply

import (
	"testing"

	. "github.com/onsi/gomega"
)

func TestSpellOutProtocols(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"service", `{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 80}, {port: 53, protocol: UDP}]}}`,
			`{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 80, protocol: TCP}, {port: 53, protocol: UDP}]}}`},
		{"deployment", `{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {template: {spec: {containers: [{name: a, ports: [{containerPort: 1}]}, {name: b}], initContainers: [{ports: [{containerPort: 2}]}]}}}}`,
			`{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {template: {spec: {containers: [{name: a, ports: [{containerPort: 1, protocol: TCP}]}, {name: b}], initContainers: [{ports: [{containerPort: 2, protocol: TCP}]}]}}}}`},
		{"cron job", `{apiVersion: batch/v1, kind: CronJob, metadata: {name: a}, spec: {jobTemplate: {spec: {template: {spec: {containers: [{ports: [{containerPort: 1}]}]}}}}}}`,
			`{apiVersion: batch/v1, kind: CronJob, metadata: {name: a}, spec: {jobTemplate: {spec: {template: {spec: {containers: [{ports: [{containerPort: 1, protocol: TCP}]}]}}}}}}`},
		{"a kind of somebody else", `{apiVersion: serving.example.com/v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 80}]}}`,
			`{apiVersion: serving.example.com/v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 80}]}}`},
		{"nonsense", `{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: 7}}`,
			`{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: 7}}`},
		{"more nonsense", `{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [3, {ports: [a]}]}}`,
			`{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [3, {ports: [a]}]}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			obj := parse(t, c.in)
			spellOutProtocols(obj)
			NewWithT(t).Expect(obj).To(Equal(parse(t, c.want)))
		})
	}
}
