// Package sdk drives a running sealedge with KES's own client, as an application does.
//
// The environment says where the server is and who the clients are: the test that starts the
// server sets it (tests/tests/suite/go_sdk.rs).
package sdk

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/kms-go/kes"
)

var ctx = context.Background()

func setting(t *testing.T, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Fatalf("%s is not set: run this by `cargo test -p sealedge-tests`", name)
	}
	return value
}

func endpoint(t *testing.T) string {
	t.Helper()
	return "https://" + setting(t, "SEALEDGE_ADDRESS")
}

// A client by the API key in a variable, and the identity of that key.
func byKey(t *testing.T, variable string) (*kes.Client, kes.Identity) {
	t.Helper()
	key, err := kes.ParseAPIKey(setting(t, variable))
	ok(t, err)
	client, err := kes.NewClient(endpoint(t), key)
	ok(t, err)
	return client, key.Identity()
}

func admin(t *testing.T) *kes.Client {
	t.Helper()
	client, _ := byKey(t, "SEALEDGE_ADMIN_KEY")
	return client
}

func byCertificate(t *testing.T) *kes.Client {
	t.Helper()
	certificate, err := tls.LoadX509KeyPair(setting(t, "SEALEDGE_CERTIFICATE"), setting(t, "SEALEDGE_PRIVATE_KEY"))
	ok(t, err)
	return kes.NewClientWithConfig(endpoint(t), &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{certificate},
	})
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s is %v and not %v", what, got, want)
	}
}

func is(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Fatalf("the error is %v and not %v", got, want)
	}
}

// The status and the message of an error that the client has no value for.
func refused(t *testing.T, err error, status int, message string) {
	t.Helper()
	var got kes.Error
	if !errors.As(err, &got) {
		t.Fatalf("the error is %v and none of the server's", err)
	}
	equal(t, "the status", got.Status(), status)
	if !strings.Contains(got.Error(), message) {
		t.Fatalf("the message is %q and not %q", got.Error(), message)
	}
}

func recent(t *testing.T, what string, at time.Time) {
	t.Helper()
	if age := time.Since(at); age < -time.Second || age > 10*time.Minute {
		t.Fatalf("%s is %v, %v ago", what, at, age)
	}
}

func TestServer(t *testing.T) {
	client := admin(t)
	version, err := client.Version(ctx)
	ok(t, err)
	ready, err := client.IsReady(ctx)
	ok(t, err)
	equal(t, "readiness", ready, true)

	state, err := client.Status(ctx)
	ok(t, err)
	equal(t, "the version", state.Version, version)
	equal(t, "the system", state.OS, runtime.GOOS)
	equal(t, "the processor", state.Arch, runtime.GOARCH)
	equal(t, "the key store's reachability", state.KeyStoreReachable, true)
	equal(t, "the key store's availability", state.KeystoreAvailable, true)
	equal(t, "CPUs used", state.UsableCPUs, runtime.NumCPU())
	if state.CPUs < state.UsableCPUs || state.HeapAlloc == 0 || state.StackAlloc == 0 {
		t.Fatalf("no true figures: %+v", state)
	}
	// A directory on this machine is asked in more than a few nanoseconds and less than a second.
	if state.KeyStoreLatency < 100*time.Nanosecond || state.KeyStoreLatency > time.Second {
		t.Fatalf("the key store's latency is %v", state.KeyStoreLatency)
	}
	if state.UpTime < 0 || state.UpTime > 10*time.Minute {
		t.Fatalf("the server is up for %v", state.UpTime)
	}

	apis, err := client.APIs(ctx)
	ok(t, err)
	equal(t, "the number of APIs", len(apis), 22)
	at := slices.IndexFunc(apis, func(api kes.API) bool { return api.Path == "/v1/key/import/" })
	if at < 0 {
		t.Fatalf("no import in %+v", apis)
	}
	equal(t, "import", apis[at], kes.API{
		Method: http.MethodPut, Path: "/v1/key/import/", MaxBody: 1 << 20, Timeout: 15 * time.Second,
	})
}

func TestMetrics(t *testing.T) {
	client := admin(t)
	before, err := client.Metrics(ctx)
	ok(t, err)
	for range 3 {
		_, err = client.Version(ctx)
		ok(t, err)
	}
	is(t, client.DeleteKey(ctx, "metrics-none"), kes.ErrKeyNotFound)
	after, err := client.Metrics(ctx)
	ok(t, err)
	if after.RequestOK < before.RequestOK+4 || after.RequestErr <= before.RequestErr {
		t.Fatalf("requests are not counted: %+v, then %+v", before, after)
	}
	equal(t, "the failures", after.RequestFail, 0)
	if after.AuditEvents <= before.AuditEvents || after.RequestActive == 0 {
		t.Fatalf("no true figures: %+v", after)
	}
	equal(t, "CPUs used", after.UsableCPUs, runtime.NumCPU())
	if after.CPUs < after.UsableCPUs || after.Threads < 2 || after.HeapAlloc == 0 || after.StackAlloc == 0 {
		t.Fatalf("no true figures: %+v", after)
	}
	if after.UpTime < before.UpTime || after.UpTime > 10*time.Minute {
		t.Fatalf("the server is up for %v", after.UpTime)
	}
	slow, last := uint64(0), uint64(0)
	for limit, count := range after.LatencyHistogram {
		if limit >= 10*time.Second {
			slow = max(slow, count)
		}
		last = max(last, count)
	}
	if len(after.LatencyHistogram) < 5 || last == 0 || slow != last {
		t.Fatalf("the latencies are %v", after.LatencyHistogram)
	}
}

func TestKeys(t *testing.T) {
	client, identity := byKey(t, "SEALEDGE_ADMIN_KEY")
	for _, create := range []struct {
		name      string
		algorithm kes.KeyAlgorithm
		do        func(name string) error
	}{
		{"created", kes.AES256, func(name string) error { return client.CreateKey(ctx, name) }},
		{"imported-aes", kes.AES256, func(name string) error {
			return client.ImportKey(ctx, name, &kes.ImportKeyRequest{Key: make([]byte, 32), Cipher: kes.AES256})
		}},
		{"imported-chacha", kes.ChaCha20, func(name string) error {
			return client.ImportKey(ctx, name, &kes.ImportKeyRequest{Key: make([]byte, 32), Cipher: kes.ChaCha20})
		}},
	} {
		t.Run(create.name, func(t *testing.T) {
			ok(t, create.do(create.name))
			is(t, create.do(create.name), kes.ErrKeyExists)
			info, err := client.DescribeKey(ctx, create.name)
			ok(t, err)
			equal(t, "the name", info.Name, create.name)
			equal(t, "the algorithm", info.Algorithm, create.algorithm)
			equal(t, "the creator", info.CreatedBy, identity)
			recent(t, "the creation", info.CreatedAt)

			useKey(t, client, create.name)

			ok(t, client.DeleteKey(ctx, create.name))
			is(t, client.DeleteKey(ctx, create.name), kes.ErrKeyNotFound)
			_, err = client.DescribeKey(ctx, create.name)
			is(t, err, kes.ErrKeyNotFound)
			_, err = client.GenerateKey(ctx, create.name, nil)
			is(t, err, kes.ErrKeyNotFound)
			_, err = client.Encrypt(ctx, create.name, nil, nil)
			is(t, err, kes.ErrKeyNotFound)
			_, err = client.Decrypt(ctx, create.name, nil, nil)
			is(t, err, kes.ErrKeyNotFound)
			_, err = client.HMAC(ctx, create.name, nil)
			is(t, err, kes.ErrKeyNotFound)
		})
	}
	err := client.ImportKey(ctx, "too-short", &kes.ImportKeyRequest{Key: make([]byte, 31), Cipher: kes.AES256})
	refused(t, err, http.StatusNotAcceptable, "invalid key size for 'AES256'")
	refused(t, client.CreateKey(ctx, "a key"), http.StatusBadRequest, "invalid characters")
}

// Whoever may use a key gets back what it has put in, and only under the same context.
func useKey(t *testing.T, client *kes.Client, name string) {
	t.Helper()
	for _, context := range [][]byte{nil, []byte("bucket/object"), bytes.Repeat([]byte{0xff}, 4096)} {
		dek, err := client.GenerateKey(ctx, name, context)
		ok(t, err)
		equal(t, "a DEK's length", len(dek.Plaintext), 32)
		plaintext, err := client.Decrypt(ctx, name, dek.Ciphertext, context)
		ok(t, err)
		equal(t, "the DEK", string(plaintext), string(dek.Plaintext))
		_, err = client.Decrypt(ctx, name, dek.Ciphertext, []byte("another context"))
		is(t, err, kes.ErrDecrypt)
		_, err = client.Decrypt(ctx, name, dek.Ciphertext[1:], context)
		is(t, err, kes.ErrDecrypt)

		message := make([]byte, 100_000)
		_, err = rand.Read(message)
		ok(t, err)
		for _, message := range [][]byte{{}, []byte("message"), message} {
			ciphertext, err := client.Encrypt(ctx, name, message, context)
			ok(t, err)
			plaintext, err := client.Decrypt(ctx, name, ciphertext, context)
			ok(t, err)
			equal(t, "the message", string(plaintext), string(message))
			sum, err := client.HMAC(ctx, name, message)
			ok(t, err)
			again, err := client.HMAC(ctx, name, message)
			ok(t, err)
			equal(t, "a sum's length", len(sum), 32)
			equal(t, "the sum", string(again), string(sum))
		}
	}
}

func TestIteratorWalksThousandsOfKeys(t *testing.T) {
	client := admin(t)
	const count = 3000
	var group sync.WaitGroup
	failures := make(chan error, count)
	for worker := range 16 {
		group.Add(1)
		go func() {
			defer group.Done()
			for at := worker; at < count; at += 16 {
				failures <- client.CreateKey(ctx, fmt.Sprintf("walk-%04d", at))
			}
		}()
	}
	group.Wait()
	close(failures)
	for err := range failures {
		ok(t, err)
	}
	ok(t, client.CreateKey(ctx, "wall"))

	keys := kes.ListIter[string]{NextFunc: client.ListKeys}
	name, err := keys.SeekTo(ctx, "walk")
	for at := range count {
		ok(t, err)
		equal(t, "the key", name, fmt.Sprintf("walk-%04d", at))
		name, err = keys.Next(ctx)
	}
	is(t, err, io.EOF)

	// From the first page on, without a prefix.
	keys = kes.ListIter[string]{NextFunc: client.ListKeys}
	found := 0
	for name, err = keys.Next(ctx); err == nil; name, err = keys.Next(ctx) {
		if strings.HasPrefix(name, "walk-") {
			found++
		}
	}
	is(t, err, io.EOF)
	equal(t, "the number of keys", found, count)

	page, next, err := client.ListKeys(ctx, "walk-29", -1)
	ok(t, err)
	equal(t, "the page's length", len(page), 100)
	equal(t, "the next page", next, "")
}

func TestPolicies(t *testing.T) {
	client, identity := byKey(t, "SEALEDGE_ADMIN_KEY")
	policies := kes.ListIter[string]{NextFunc: client.ListPolicies}
	var names []string
	name, err := policies.Next(ctx)
	for ; err == nil; name, err = policies.Next(ctx) {
		names = append(names, name)
	}
	is(t, err, io.EOF)
	equal(t, "the policies", strings.Join(names, " "), "by-certificate my-app")

	info, err := client.DescribePolicy(ctx, "my-app")
	ok(t, err)
	equal(t, "the name", info.Name, "my-app")
	equal(t, "the creator", info.CreatedBy, identity)
	recent(t, "the creation", info.CreatedAt)

	policy, err := client.GetPolicy(ctx, "my-app")
	ok(t, err)
	rules(t, policy)
	equal(t, "the creator", policy.CreatedBy, identity)
	recent(t, "the creation", policy.CreatedAt)

	_, err = client.DescribePolicy(ctx, "none")
	is(t, err, kes.ErrPolicyNotFound)
	_, err = client.GetPolicy(ctx, "none")
	is(t, err, kes.ErrPolicyNotFound)
}

// The rules of the policy `my-app`.
func rules(t *testing.T, policy *kes.Policy) {
	t.Helper()
	equal(t, "the number of allowed patterns", len(policy.Allow), 3)
	equal(t, "the number of denied patterns", len(policy.Deny), 1)
	for path, want := range map[string]error{
		"/v1/key/generate/my-app":    nil,
		"/v1/key/generate/my-app-2":  nil,
		"/v1/key/generate/my-app-no": kes.ErrNotAllowed,
		"/v1/key/generate/other":     kes.ErrNotAllowed,
		"/v1/key/delete/my-app":      kes.ErrNotAllowed,
	} {
		request, err := http.NewRequest(http.MethodPut, "https://server"+path, nil)
		ok(t, err)
		if got := policy.Verify(request); !errors.Is(got, want) {
			t.Fatalf("%s gives %v and not %v", path, got, want)
		}
	}
}

func TestIdentities(t *testing.T) {
	client, identity := byKey(t, "SEALEDGE_ADMIN_KEY")
	app, appIdentity := byKey(t, "SEALEDGE_APP_KEY")
	certificate := kes.Identity(setting(t, "SEALEDGE_CERTIFICATE_IDENTITY"))

	identities := kes.ListIter[kes.Identity]{NextFunc: client.ListIdentities}
	var all []kes.Identity
	next, err := identities.Next(ctx)
	for ; err == nil; next, err = identities.Next(ctx) {
		all = append(all, next)
	}
	is(t, err, io.EOF)
	want := []kes.Identity{identity, appIdentity, certificate}
	slices.Sort(want)
	if !slices.Equal(all, want) {
		t.Fatalf("the identities are %v and not %v", all, want)
	}

	info, err := client.DescribeIdentity(ctx, appIdentity)
	ok(t, err)
	equal(t, "the policy", info.Policy, "my-app")
	equal(t, "being the admin", info.IsAdmin, false)
	equal(t, "the creator", info.CreatedBy, identity)
	recent(t, "the creation", info.CreatedAt)
	info, err = client.DescribeIdentity(ctx, identity)
	ok(t, err)
	equal(t, "being the admin", info.IsAdmin, true)
	equal(t, "the policy", info.Policy, "")
	_, err = client.DescribeIdentity(ctx, kes.Identity(strings.Repeat("0", 64)))
	is(t, err, kes.ErrIdentityNotFound)

	info, policy, err := client.DescribeSelf(ctx)
	ok(t, err)
	equal(t, "the identity", info.Identity, identity)
	equal(t, "being the admin", info.IsAdmin, true)
	equal(t, "the number of patterns", len(policy.Allow)+len(policy.Deny), 0)
	info, policy, err = app.DescribeSelf(ctx)
	ok(t, err)
	equal(t, "the identity", info.Identity, appIdentity)
	equal(t, "being the admin", info.IsAdmin, false)
	equal(t, "the policy", info.Policy, "my-app")
	recent(t, "the creation", info.CreatedAt)
	rules(t, policy)
}

func TestPolicyByAPIKeyAndByCertificate(t *testing.T) {
	app, _ := byKey(t, "SEALEDGE_APP_KEY")
	ok(t, app.CreateKey(ctx, "my-app"))
	is(t, app.CreateKey(ctx, "my-app"), kes.ErrKeyExists)
	is(t, app.CreateKey(ctx, "other"), kes.ErrNotAllowed)
	_, err := app.GenerateKey(ctx, "my-app", nil)
	ok(t, err)
	_, err = app.GenerateKey(ctx, "my-app-no", nil)
	is(t, err, kes.ErrNotAllowed)
	is(t, app.DeleteKey(ctx, "my-app"), kes.ErrNotAllowed)
	_, err = app.Status(ctx)
	is(t, err, kes.ErrNotAllowed)
	_, err = app.AuditLog(ctx)
	is(t, err, kes.ErrNotAllowed)

	certified := byCertificate(t)
	info, _, err := certified.DescribeSelf(ctx)
	ok(t, err)
	equal(t, "the identity", info.Identity.String(), setting(t, "SEALEDGE_CERTIFICATE_IDENTITY"))
	equal(t, "the policy", info.Policy, "by-certificate")
	ok(t, certified.CreateKey(ctx, "certified"))
	useKey(t, certified, "certified")
	is(t, certified.CreateKey(ctx, "other"), kes.ErrNotAllowed)

	key, err := kes.GenerateAPIKey(nil)
	ok(t, err)
	stranger, err := kes.NewClient(endpoint(t), key)
	ok(t, err)
	is(t, stranger.CreateKey(ctx, "my-app"), kes.ErrNotAllowed)
	_, _, err = stranger.DescribeSelf(ctx)
	is(t, err, kes.ErrIdentityNotFound)
}

func TestAuditLog(t *testing.T) {
	client, identity := byKey(t, "SEALEDGE_ADMIN_KEY")
	stream, err := client.AuditLog(ctx)
	ok(t, err)
	defer stream.Close()
	is(t, client.DeleteKey(ctx, "log-none"), kes.ErrKeyNotFound)
	next(t, stream, "/v1/key/delete/log-none")
	event := stream.Event()
	equal(t, "the status", event.StatusCode, http.StatusNotFound)
	equal(t, "the identity", event.ClientIdentity, identity)
	equal(t, "the address", event.ClientIP.String(), "127.0.0.1")
	recent(t, "the event", event.Timestamp)
	if event.ResponseTime <= 0 || event.ResponseTime > time.Minute {
		t.Fatalf("the answer took %v", event.ResponseTime)
	}
}

// Reads on until the event of a path; none on the way may be empty. How many they are.
func next(t *testing.T, stream *kes.AuditStream, path string) int {
	t.Helper()
	for count := 1; stream.Next(); count++ {
		event := stream.Event()
		if event.APIPath == "" || event.StatusCode == 0 || event.ClientIP == nil || event.Timestamp.IsZero() {
			t.Fatalf("an empty event: %+v", event)
		}
		if event.APIPath == path {
			return count
		}
	}
	t.Fatalf("the stream ended: %v", stream.Close())
	return 0
}

// Who reads too slowly loses events, and nothing else.
func TestAuditLogAfterALoss(t *testing.T) {
	client := admin(t)
	stream, err := client.AuditLog(ctx)
	ok(t, err)
	defer stream.Close()
	const workers, each = 8, 1000
	name := strings.Repeat("a", 12_000)
	var group sync.WaitGroup
	for range workers {
		group.Add(1)
		go func() {
			defer group.Done()
			for range each {
				_, _ = client.DescribeKey(ctx, name)
			}
		}()
	}
	group.Wait()
	is(t, client.DeleteKey(ctx, "log-none"), kes.ErrKeyNotFound)
	if count := next(t, stream, "/v1/key/delete/log-none"); count >= workers*each {
		t.Fatalf("nothing was lost: %d events", count)
	}
	is(t, client.DeleteKey(ctx, "log-none"), kes.ErrKeyNotFound)
	next(t, stream, "/v1/key/delete/log-none")
}

func TestErrorLog(t *testing.T) {
	client := admin(t)
	stream, err := client.ErrorLog(ctx)
	ok(t, err)
	defer stream.Close()
	_, err = client.DescribeKey(ctx, "corrupt")
	refused(t, err, http.StatusBadGateway, "failed to read key")
	equal(t, "an event", stream.Next(), true)
	if !strings.HasPrefix(stream.Message(), "failed to read key: what is stored for 'corrupt' is no key") {
		t.Fatalf("the event is %+v", stream.Event())
	}
}
