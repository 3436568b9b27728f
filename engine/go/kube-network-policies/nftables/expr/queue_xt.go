// Added to google/nftables when the tool is built (engine/recipes.py renames upstream's marshal to marshalQueue).
package expr

import (
	"encoding/binary"
	"os"

	"github.com/google/nftables/binaryutil"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// marshal writes upstream's "queue" expression, or with CYGNET_NFQUEUE_XT=1 the same thing as the compat expression
// "target NFQUEUE" that iptables-nft emits, for kernels that have xt_NFQUEUE and nft_compat but no nft_queue.
func (e *Queue) marshal(fam byte) ([]byte, error) {
	if os.Getenv("CYGNET_NFQUEUE_XT") == "1" {
		return e.marshalXT()
	}
	return e.marshalQueue(fam)
}

func (e *Queue) marshalXT() ([]byte, error) {
	// struct xt_NFQ_info_v3 {u16 queuenum, queues_total, flags}, padded to 8; the flags are those of nft_queue.
	info := make([]byte, 8)
	binary.NativeEndian.PutUint16(info[0:], e.Num)
	binary.NativeEndian.PutUint16(info[2:], max(e.Total, 1))
	binary.NativeEndian.PutUint16(info[4:], uint16(e.Flag))
	target, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_TARGET_NAME, Data: []byte("NFQUEUE\x00")},
		{Type: unix.NFTA_TARGET_REV, Data: binaryutil.BigEndian.PutUint32(3)},
		{Type: unix.NFTA_TARGET_INFO, Data: info},
	})
	if err != nil {
		return nil, err
	}
	return netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_EXPR_NAME, Data: []byte("target\x00")},
		{Type: unix.NLA_F_NESTED | unix.NFTA_EXPR_DATA, Data: target},
	})
}
