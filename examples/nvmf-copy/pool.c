/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "copy.h"

STAILQ_HEAD(io_queue, io);

struct pool {
	struct nof_loop *loop; /* woken when something ended */
	pthread_mutex_t lock;  /* the queues and is_ending */
	pthread_cond_t changed;
	struct io_queue todo, ended;
	bool is_ending;
	int cancel_fd; /* readable once nobody shall wait for a pipe any more */
	pthread_t *threads;
	unsigned int count;
};

/* Only so that a blocked write() returns. */
static void on_poke(int sig)
{
}

static void *pool_main(void *arg)
{
	struct pool *pool = arg;
	struct io *io;
	bool is_first;

	pthread_mutex_lock(&pool->lock);
	for (;;) {
		while (STAILQ_EMPTY(&pool->todo) && !pool->is_ending)
			pthread_cond_wait(&pool->changed, &pool->lock);
		io = STAILQ_FIRST(&pool->todo);
		if (!io)
			break;
		STAILQ_REMOVE_HEAD(&pool->todo, link);
		pthread_mutex_unlock(&pool->lock);
		end_file_run(io);
		pthread_mutex_lock(&pool->lock);
		is_first = STAILQ_EMPTY(&pool->ended);
		STAILQ_INSERT_TAIL(&pool->ended, io, link);
		/* With the lock: pool_free() cannot have let the loop go before. */
		if (is_first)
			nof_loop_wake(pool->loop);
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

int pool_new(struct nof_loop *loop, unsigned int threads, struct pool **out)
{
	struct pool *pool = calloc(1, sizeof(*pool));
	struct sigaction sa = { .sa_handler = on_poke };
	sigset_t all, old;
	int ret = 0;

	if (!pool)
		return -ENOMEM;
	pool->loop = loop;
	STAILQ_INIT(&pool->todo);
	STAILQ_INIT(&pool->ended);
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->changed, NULL);
	pool->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pool->threads = calloc(threads, sizeof(*pool->threads));
	if (pool->cancel_fd < 0 || !pool->threads) {
		ret = -ENOMEM;
		goto fail;
	}
	/* Signals are the main thread's, but for the one that ends a system call here. */
	sigaction(SIGUSR1, &sa, NULL);
	sigfillset(&all);
	sigdelset(&all, SIGUSR1);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (pool->count < threads && ret == 0) {
		ret = -pthread_create(&pool->threads[pool->count], NULL, pool_main, pool);
		pool->count += ret == 0;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (pool->count == 0)
		goto fail;
	*out = pool;
	return 0;
fail:
	pool_free(pool);
	return ret;
}

void pool_submit(struct pool *pool, struct io *io)
{
	pthread_mutex_lock(&pool->lock);
	STAILQ_INSERT_TAIL(&pool->todo, io, link);
	pthread_cond_signal(&pool->changed);
	pthread_mutex_unlock(&pool->lock);
}

void pool_reap(struct pool *pool)
{
	struct io_queue ended = STAILQ_HEAD_INITIALIZER(ended);
	struct io *io;

	pthread_mutex_lock(&pool->lock);
	STAILQ_CONCAT(&ended, &pool->ended);
	pthread_mutex_unlock(&pool->lock);
	while ((io = STAILQ_FIRST(&ended))) {
		STAILQ_REMOVE_HEAD(&ended, link);
		io->end->busy--;
		io->done(io, io->error, "");
	}
}

void pool_cancel(struct pool *pool)
{
	uint64_t one = 1;

	unsigned int i;

	/* Fails when it is readable to the brim, which is as good. */
	if (write(pool->cancel_fd, &one, sizeof(one)) < 0)
		one = 0;
	for (i = 0; i < pool->count; i++)
		pthread_kill(pool->threads[i], SIGUSR1);
}

int pool_cancel_fd(const struct pool *pool)
{
	return pool->cancel_fd;
}

void pool_free(struct pool *pool)
{
	unsigned int i;

	if (!pool)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->is_ending = true;
	STAILQ_INIT(&pool->todo);
	pthread_cond_broadcast(&pool->changed);
	pthread_mutex_unlock(&pool->lock);
	for (i = 0; i < pool->count; i++)
		pthread_join(pool->threads[i], NULL);
	if (pool->cancel_fd >= 0)
		close(pool->cancel_fd);
	free(pool->threads);
	pthread_mutex_destroy(&pool->lock);
	pthread_cond_destroy(&pool->changed);
	free(pool);
}
