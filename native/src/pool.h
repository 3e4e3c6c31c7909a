// Threads that wait for work, memory to work in, and the barrier at which threads meet.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>

namespace ost {

// The library's threads and its working memory, for the length of one call. While one call has them, another works on
// its own thread alone: callers never wait for each other. After a fork the child has threads of its own.
class Lease {
  public:
    explicit Lease(int threads);
    ~Lease();
    Lease(const Lease &) = delete;
    Lease &operator=(const Lease &) = delete;

    // How many threads `run` uses: those asked for, or 1.
    int threads() const { return threads_; }

    // Room for so many floats, aligned to 64 bytes, until the lease ends; null when there is none. Asked for once.
    float *memory(size_t floats);

    // Calls work(rank) for every rank below `threads`, all at once, each on a thread of its own.
    void run(const std::function<void(int)> &work);

  private:
    bool shared_;
    int threads_;
    float *own_ = nullptr;
};

// Where `parties` threads wait for each other, again and again. A short spin, then turns are given away, so that a busy
// machine gets on.
class Barrier {
  public:
    void set(int parties) { parties_ = parties; }
    void wait();

  private:
    int parties_ = 1;
    std::atomic<int> arrived_{0};
    std::atomic<unsigned> round_{0};
};

}  // namespace ost
