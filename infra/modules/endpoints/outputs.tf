output "endpoint_ids" {
  description = "The private endpoints."
  value       = { for name, endpoint in azurerm_private_endpoint.all : name => endpoint.id }
}

output "zone_names" {
  description = "The zones in DNS, to be linked with other networks that are to find the endpoints."
  value       = local.zones
}
