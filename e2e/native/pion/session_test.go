package pion

import (
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/webrtc/v4"
)

// newPeer makes a connection that uses only the given kinds of network.
func newPeer(t *testing.T, networks ...webrtc.NetworkType) *webrtc.PeerConnection {
	t.Helper()
	var settings webrtc.SettingEngine
	settings.SetNetworkTypes(networks)
	settings.SetIncludeLoopbackCandidate(true)
	// The tests stay on this machine's loopback interface, or on that of their namespace.
	settings.SetIPFilter(func(ip net.IP) bool { return ip.IsLoopback() || ip.String() == ipv6 })
	settings.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	peer, err := webrtc.NewAPI(webrtc.WithSettingEngine(settings)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = peer.Close() })
	return peer
}

// negotiate carries out WHIP's and WHEP's exchange (RFC 9725, section 4.2): the offer goes out
// before any candidate is known, since the node learns the client's address from its checks.
// It returns the session's URL.
func negotiate(t *testing.T, peer *webrtc.PeerConnection, endpoint string) string {
	t.Helper()
	offer, err := peer.CreateOffer(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := peer.SetLocalDescription(offer); err != nil {
		t.Fatal(err)
	}
	response, answer := post(t, endpoint, offer.SDP)
	if response.StatusCode != http.StatusCreated {
		t.Fatalf("POST %s: %s\n%s\nthe offer was:\n%s", endpoint, response.Status, answer, offer.SDP)
	}
	if err := peer.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}); err != nil {
		t.Fatalf("Pion refused the answer: %v\n%s", err, answer)
	}
	base, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	session, err := base.Parse(response.Header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	return session.String()
}

// post sends an offer. A viewer who comes a moment before the host is on air is told to come
// again (409 with Retry-After), and does.
func post(t *testing.T, endpoint, offer string) (*http.Response, string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		response, err := http.Post(endpoint, "application/sdp", strings.NewReader(offer))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		wait, err := strconv.Atoi(response.Header.Get("Retry-After"))
		if response.StatusCode != http.StatusConflict || err != nil || time.Now().After(deadline) {
			return response, string(answer)
		}
		time.Sleep(time.Duration(wait) * time.Second)
	}
}

// awaitState returns once the connection is in this state.
func awaitState(t *testing.T, peer *webrtc.PeerConnection, wanted webrtc.PeerConnectionState) {
	t.Helper()
	reached := make(chan struct{}, 1)
	peer.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		if state == wanted {
			select {
			case reached <- struct{}{}:
			default:
			}
		}
	})
	if peer.ConnectionState() == wanted {
		return
	}
	select {
	case <-reached:
	case <-time.After(20 * time.Second):
		t.Fatalf("connection is %v after 20 s, not %v", peer.ConnectionState(), wanted)
	}
}

func deleteSession(t *testing.T, session string) {
	t.Helper()
	request, err := http.NewRequest(http.MethodDelete, session, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("DELETE %s: %s", session, response.Status)
	}
}
