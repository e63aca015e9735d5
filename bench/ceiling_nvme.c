/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The raw client in front of an NVMe/TCP target: just enough of the protocol to get a queue that
 * answers reads. From there on it is the same loop as against the raw server, so what differs
 * between the two is the target, and what differs between this and an initiator is the initiator.
 */
#include "ceiling.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define IC_LEN		128u
#define CONNECT_DATA	1024u
#define OPCODE_FABRICS	0x7f
#define SGL_IN_CAPSULE	0x01
#define SGL_TRANSPORT	0x5a

enum {
	FCTYPE_PROPERTY_SET = 0x00,
	FCTYPE_CONNECT = 0x01,
	FCTYPE_PROPERTY_GET = 0x04,
	PROPERTY_CC = 0x14,
	PROPERTY_CSTS = 0x1c,
};

static void send_all(int fd, const uint8_t *p, size_t len)
{
	while (len) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			die("set-up: send: %s", strerror(errno));
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
	}
}

static void receive(int fd, uint8_t *p, size_t len)
{
	ssize_t n;

	do {
		n = recv(fd, p, len, MSG_WAITALL);
	} while (n < 0 && errno == EINTR);
	if (n < 0 || (size_t)n != len)
		die("set-up: the target closed the connection");
}

static void initialize(int fd)
{
	uint8_t pdu[IC_LEN] = { 0x00, 0, IC_LEN };

	put_le32(pdu + 4, IC_LEN);
	send_all(fd, pdu, sizeof(pdu));
	receive(fd, pdu, sizeof(pdu));
	if (pdu[0] != 0x01 || get_le32(pdu + 4) != IC_LEN)
		die("set-up: that is no NVMe/TCP target");
	if (pdu[10] || pdu[11])
		die("set-up: the target wants padding or digests, which this does not know");
}

/* Sends a Fabrics command, with data in the capsule; returns the low half of its result. */
static uint32_t fabrics(int fd, uint8_t fctype, const uint8_t cdw[16], const uint8_t *data,
			uint32_t len)
{
	uint8_t capsule[CAPSULE_LEN + CONNECT_DATA] = { PDU_CMD, 0, CAPSULE_LEN };
	uint8_t resp[HDR_LEN], *sqe = capsule + 8;

	capsule[3] = len ? CAPSULE_LEN : 0;
	put_le32(capsule + 4, CAPSULE_LEN + len);
	sqe[0] = OPCODE_FABRICS;
	sqe[1] = 0x40;			/* PSDT: an SGL */
	sqe[4] = fctype;
	put_le32(sqe + 32, len);
	sqe[39] = SGL_IN_CAPSULE;
	memcpy(sqe + 40, cdw, 16);
	if (len)
		memcpy(capsule + CAPSULE_LEN, data, len);
	send_all(fd, capsule, CAPSULE_LEN + len);
	receive(fd, resp, sizeof(resp));
	if (resp[0] != PDU_RESP || get_le16(resp + 22) >> 1)
		die("set-up: the target refuses Fabrics command %u with status 0x%x", fctype,
		    get_le16(resp + 22) >> 1);
	return get_le32(resp + 8);
}

/* Returns the controller's id. */
static uint16_t fabrics_connect(int fd, const char *nqn, uint16_t qid, uint16_t entries,
				uint16_t cntlid)
{
	uint8_t data[CONNECT_DATA] = { 'r', 'a', 'w' }, cdw[16] = { };

	put_le16(data + 16, cntlid);
	snprintf((char *)data + 256, 256, "%s", nqn);
	snprintf((char *)data + 512, 256, "nqn.2014-08.org.nvmexpress:uuid:"
		 "72617700-0000-4000-8000-000000000000");
	put_le16(cdw + 2, qid);
	put_le16(cdw + 4, (uint16_t)(entries - 1));
	return (uint16_t)fabrics(fd, FCTYPE_CONNECT, cdw, data, sizeof(data));
}

static void enable(int fd)
{
	uint8_t cdw[16] = { };

	put_le32(cdw + 4, PROPERTY_CC);
	put_le32(cdw + 8, 4u << 20 | 6u << 16 | 1);	/* entries of 16 and 64 bytes, enable */
	fabrics(fd, FCTYPE_PROPERTY_SET, cdw, NULL, 0);
	memset(cdw, 0, sizeof(cdw));
	put_le32(cdw + 4, PROPERTY_CSTS);
	while (!(fabrics(fd, FCTYPE_PROPERTY_GET, cdw, NULL, 0) & 1))
		usleep(1000);
}

/* The socket of the I/O queue; that of the admin queue stays open behind it until the end. */
int nvme_connect(const struct ceiling_opts *o, int (*connect_to)(const struct ceiling_opts *o))
{
	int admin = connect_to(o), fd;
	uint16_t cntlid;

	initialize(admin);
	cntlid = fabrics_connect(admin, o->nqn, 0, 32, 0xffff);
	enable(admin);
	fd = connect_to(o);
	initialize(fd);
	fabrics_connect(fd, o->nqn, 1, (uint16_t)(o->qd + 1), cntlid);
	return fd;
}

/* Makes a request a whole Read of namespace 1, which has blocks of NVME_BLOCK_LEN bytes. */
void nvme_command(uint8_t *sqe, unsigned int bs)
{
	sqe[1] = 0x40;
	put_le32(sqe + 4, 1);
	put_le32(sqe + 32, bs);
	sqe[39] = SGL_TRANSPORT;
	put_le32(sqe + 48, bs / NVME_BLOCK_LEN - 1);
}
