/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An errno with its sentence, as it travels up the layers. Every layer may
 * include this file; it knows none of them.
 */
#ifndef NOF_ERR_H
#define NOF_ERR_H

#include <stdarg.h>

struct nofi_err {
	int code;		/* 0, or negative errno */
	char text[512];		/* sentence without newline, "" when code is 0 */
};

/* Stores code and the formatted sentence; err may be NULL. Returns code. */
__attribute__((format(printf, 3, 4)))
int nofi_err_set(struct nofi_err *err, int code, const char *fmt, ...);
int nofi_err_vset(struct nofi_err *err, int code, const char *fmt, va_list ap);

/* EMFILE of a call, ENFILE otherwise: which limit was reached, and what raises it. */
int nofi_err_files(struct nofi_err *err, int code, const char *call);

/* Public calls end with these: they set the thread's nof_strerror_detail(). */
__attribute__((format(printf, 2, 3)))
int nofi_fail(int code, const char *fmt, ...);
int nofi_fail_err(const struct nofi_err *err);

#endif
