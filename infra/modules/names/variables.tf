variable "name" {
  type        = string
  description = "What all names begin with."

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{1,9}$", var.name))
    error_message = "name must be 2 to 10 lowercase letters and digits and begin with a letter: storage accounts, which carry it, allow no more."
  }
}

variable "environment" {
  type        = string
  description = "Which environment this is: dev or prod."

  validation {
    condition     = contains(["dev", "prod"], var.environment)
    error_message = "environment must be dev or prod: they differ in what is open to the network and in what is kept."
  }
}

variable "subscription_id" {
  type        = string
  description = "The subscription. It makes names unique that must be so in all of Azure."

  validation {
    condition     = length(var.subscription_id) > 0
    error_message = "subscription_id must not be empty: names that are unique in all of Azure are made from it."
  }
}

variable "tags" {
  type        = map(string)
  description = "Tags that go on every resource, beside those made here."
  default     = {}

  validation {
    condition     = length(var.tags) <= 40
    error_message = "tags may be 40 at most: Azure allows 50 on a resource, and some are added here."
  }
}
