/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bytes of NVMe/TCP, as the TCP Transport Specification lays them out.
 * Layouts and constants only; all integers are little-endian on the wire, so
 * multi-byte fields are read and written through the nofi_get/put helpers or
 * as leXX after a static assert. Shared by the host (src/) and nvmf-target.
 */
#ifndef NOF_PDU_WIRE_H
#define NOF_PDU_WIRE_H

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum nofi_pdu_type {
	NOFI_PDU_ICREQ = 0x00,		/* H→C: first PDU of a connection */
	NOFI_PDU_ICRESP = 0x01,		/* C→H: its answer */
	NOFI_PDU_H2C_TERM = 0x02,	/* H→C: fatal error, connection ends */
	NOFI_PDU_C2H_TERM = 0x03,	/* C→H: the same from the controller */
	NOFI_PDU_CAPSULE_CMD = 0x04,	/* H→C: SQE, perhaps in-capsule data */
	NOFI_PDU_CAPSULE_RESP = 0x05,	/* C→H: CQE */
	NOFI_PDU_H2C_DATA = 0x06,	/* H→C: write data, answers an R2T */
	NOFI_PDU_C2H_DATA = 0x07,	/* C→H: read data */
	NOFI_PDU_R2T = 0x09,		/* C→H: ready to transfer */
};

enum nofi_pdu_flag {
	NOFI_PDU_F_HDGST = 1u << 0,	/* header digest follows the header */
	NOFI_PDU_F_DDGST = 1u << 1,	/* data digest follows the data */
	NOFI_PDU_F_LAST = 1u << 2,	/* last data PDU of the R2T / of the read */
	NOFI_PDU_F_SUCCESS = 1u << 3,	/* C2HData only: no CapsuleResp follows */
};

/* Fatal error status of a TermReq (checklist 1.4). */
enum nofi_fes {
	NOFI_FES_NONE = 0x00,
	NOFI_FES_INVALID_HDR = 0x01,	/* FEI: offset of the lowest bad field */
	NOFI_FES_SEQUENCE = 0x02,
	NOFI_FES_HDGST = 0x03,		/* FEI: the digest that was received */
	NOFI_FES_RANGE = 0x04,		/* data transfer out of range */
	NOFI_FES_LIMIT = 0x05,		/* data transfer / R2T limit exceeded */
	NOFI_FES_UNSUPPORTED = 0x06,	/* FEI: offset of the parameter */
};

enum {
	NOFI_DIGEST_LEN = 4,
	NOFI_CH_LEN = 8,
	NOFI_IC_LEN = 128,		/* ICReq, ICResp */
	NOFI_SQE_LEN = 64,
	NOFI_CQE_LEN = 16,
	NOFI_CAPSULE_CMD_HLEN = 72,
	NOFI_CAPSULE_RESP_HLEN = 24,
	NOFI_DATA_HLEN = 24,		/* H2CData, C2HData */
	NOFI_R2T_HLEN = 24,
	NOFI_TERM_HLEN = 24,
	NOFI_TERM_MAX_PLEN = 152,	/* header + at most 128 B of the culprit */
	NOFI_PDA_MAX = 31,		/* HPDA, CPDA: alignment (n+1)*4, ≤128 */
	NOFI_ADMIN_INCAPSULE = 8192,	/* in-capsule limit, admin and Fabrics (T-11) */
	NOFI_MAXH2CDATA_MIN = 4096,
	NOFI_SGL_INCAPSULE = 0x01,	/* data block, offset: in the capsule */
	NOFI_SGL_TRANSPORT = 0x5a,	/* transport data block: by R2T or C2HData */
	NOFI_SQE_PSDT_SGL = 0x40,	/* CDW0 flags byte: SGL for data (PSDT=01b) */
};

struct nofi_ch {
	uint8_t type;
	uint8_t flags;
	uint8_t hlen;
	uint8_t pdo;
	uint32_t plen_le;
};

struct nofi_ic {		/* ICReq and ICResp */
	struct nofi_ch ch;
	uint16_t pfv_le;
	uint8_t pda;		/* HPDA in ICReq, CPDA in ICResp */
	uint8_t dgst;		/* b0 header, b1 data */
	uint32_t max_le;	/* MAXR2T (0's based) or MAXH2CDATA (bytes) */
	uint8_t rsvd[112];
};

struct nofi_capsule_cmd {
	struct nofi_ch ch;
	uint8_t sqe[NOFI_SQE_LEN];
};

struct nofi_capsule_resp {
	struct nofi_ch ch;
	uint8_t cqe[NOFI_CQE_LEN];
};

struct nofi_data_pdu {		/* H2CData, C2HData (ttag reserved), R2T */
	struct nofi_ch ch;
	uint16_t cccid_le;
	uint16_t ttag_le;
	uint32_t offset_le;	/* DATAO or R2TO */
	uint32_t length_le;	/* DATAL or R2TL */
	uint32_t rsvd;
};

_Static_assert(sizeof(struct nofi_ch) == 8, "common header");
_Static_assert(sizeof(struct nofi_ic) == 128, "ICReq/ICResp");
_Static_assert(sizeof(struct nofi_capsule_cmd) == 72, "CapsuleCmd");
_Static_assert(sizeof(struct nofi_capsule_resp) == 24, "CapsuleResp");
_Static_assert(sizeof(struct nofi_data_pdu) == 24, "data PDUs and R2T");
_Static_assert(offsetof(struct nofi_data_pdu, offset_le) == 12, "DATAO at 12");
_Static_assert(offsetof(struct nofi_ic, max_le) == 12, "MAXR2T/MAXH2CDATA at 12");

/* Unaligned little-endian access, for fields inside byte arrays. */
static inline uint16_t nofi_get16(const void *p)
{
	uint16_t v;
	memcpy(&v, p, sizeof(v));
	return le16toh(v);
}

static inline uint32_t nofi_get32(const void *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static inline uint64_t nofi_get64(const void *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

static inline void nofi_put16(void *p, uint16_t v)
{
	v = htole16(v);
	memcpy(p, &v, sizeof(v));
}

static inline void nofi_put32(void *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
}

static inline void nofi_put64(void *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof(v));
}

#endif
